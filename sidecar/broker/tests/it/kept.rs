//! A client whose session and stream are kept up until it is dropped.

use crate::support::{client, config};
use crate::upstream::{PATIENCE, Upstream};
use ibkr_agent_broker::{Broker as _, ClientPortal, keep_alive};
use ibkr_agent_domain::{BrokerEvent, BrokerOrder, Execution, Mode, Quote, SessionState};
use tokio::sync::broadcast;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) struct Kept {
    pub(crate) broker: ClientPortal,
    pub(crate) events: broadcast::Receiver<BrokerEvent>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kept {
    pub(crate) fn up(broker: &ClientPortal) -> Self {
        let broker = broker.clone();
        let events = broker.events();
        let task = tokio::spawn(keep_alive(broker.clone(), CancellationToken::new()));
        Self { broker, events, task }
    }

    /// A paper client on a scripted gateway.
    pub(crate) fn on(server: &Upstream) -> Self {
        Self::up(&client(config(&server.url, Mode::Paper)).0)
    }

    /// The next event that fits, past others.
    pub(crate) async fn event<T>(&mut self, mut pick: impl FnMut(BrokerEvent) -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(found) = pick(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("the event comes")
    }

    pub(crate) async fn quote(&mut self) -> Quote {
        self.event(|event| if let BrokerEvent::Quote(quote) = event { Some(quote) } else { None })
            .await
    }

    pub(crate) async fn order(&mut self) -> BrokerOrder {
        self.event(|event| if let BrokerEvent::Order(order) = event { Some(*order) } else { None })
            .await
    }

    pub(crate) async fn fill(&mut self) -> Execution {
        self.event(|event| if let BrokerEvent::Execution(fill) = event { Some(fill) } else { None })
            .await
    }

    /// The state of the next session event.
    pub(crate) async fn state(&mut self) -> SessionState {
        self.event(
            |event| {
                if let BrokerEvent::Session(health) = event { Some(health.state) } else { None }
            },
        )
        .await
    }

    /// The states that were told and not looked at yet.
    pub(crate) fn told_states(&mut self) -> Vec<SessionState> {
        let mut states = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            if let BrokerEvent::Session(health) = event {
                states.push(health.state);
            }
        }
        states
    }

    /// Waits for a state of the session.
    pub(crate) async fn until(&self, state: SessionState) {
        let reached = async {
            while self.broker.health().state != state {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{:?}", self.broker.health()));
    }

    /// Waits until the stream has this many subscriptions at least.
    pub(crate) async fn subscribed(&self, least: usize) {
        let reached = async {
            while self.broker.stream_health().unwrap().subscriptions < least {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{:?}", self.broker.stream_health()));
    }
}
