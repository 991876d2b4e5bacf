//! Owning, attaching and taking over, with owners in one process over a lock that stands for the
//! store's.

use crate::support::{Probe, READ, WRITE, ask, call, caller};
use futures_util::StreamExt as _;
use ibkr_agent_domain::ErrorCode;
use ibkr_agent_gateway::local::{LocalMode, LocalService, Owner, StartError, agent_socket};
use ibkr_agent_protocol::service::{ErrorBody, Progress, ToolEvent, ToolService as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The store: held by one at a time, and what the next start shall fail with.
#[derive(Clone, Default)]
struct Store {
    held: Arc<Mutex<bool>>,
    failures: Arc<Mutex<Vec<ErrorBody>>>,
}

impl Store {
    fn take(&self) -> Result<Held, StartError> {
        if let Some(error) = self.failures.lock().unwrap().pop() {
            return Err(StartError::Failed(error));
        }
        let mut held = self.held.lock().unwrap();
        if *held {
            return Err(StartError::Locked);
        }
        *held = true;
        Ok(Held(self.clone()))
    }

    async fn open(
        &self,
        state: &Path,
        probe: &Arc<Probe>,
    ) -> Result<LocalService<Probe>, ErrorBody> {
        let store = self.clone();
        let probe = Arc::clone(probe);
        LocalService::open(state, move || {
            let taken = store.take();
            let service = Arc::clone(&probe);
            async move {
                let held = taken?;
                Ok(Owner { service, close: Box::pin(async move { drop(held) }) })
            }
        })
        .await
    }
}

struct Held(Store);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.held.lock().unwrap() = false;
    }
}

fn refusal(code: ErrorCode) -> ErrorBody {
    ErrorBody::new(code, "told to")
}

#[tokio::test]
async fn the_first_owns_the_others_attach_and_one_takes_over() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    let probes = [Probe::new("first"), Probe::new("second"), Probe::new("third")];
    let first = store.open(state.path(), &probes[0]).await.unwrap();
    let second = store.open(state.path(), &probes[1]).await.unwrap();
    let third = store.open(state.path(), &probes[2]).await.unwrap();
    assert_eq!(first.mode(), Some(LocalMode::Owner));
    assert_eq!(second.mode(), Some(LocalMode::Attached));
    assert_eq!(third.mode(), Some(LocalMode::Attached));
    for service in [&first, &second, &third] {
        assert_eq!(ask(service, READ, "{}").await.unwrap()["by"], "first");
        assert_eq!(service.tools(&caller("x")).len(), 2);
    }
    first.close().await;
    assert_eq!(first.mode(), None);
    assert_eq!(ask(&first, READ, "{}").await.unwrap_err(), "SIDECAR_UNAVAILABLE");
    let heirs = [
        ask(&second, READ, "{}").await.unwrap()["by"].clone(),
        ask(&third, WRITE, "{}").await.unwrap()["by"].clone(),
    ];
    assert_eq!(heirs[0], heirs[1], "one of the two owns it");
    assert!(heirs[0] == "second" || heirs[0] == "third");
    let modes = [second.mode(), third.mode()];
    assert!(modes.contains(&Some(LocalMode::Owner)) && modes.contains(&Some(LocalMode::Attached)));
}

#[tokio::test]
async fn a_call_waits_for_the_next_owner_no_longer_than_its_time() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    let (one, two) = (Probe::new("first"), Probe::new("second"));
    let first = store.open(state.path(), &one).await.unwrap();
    let second = store.open(state.path(), &two).await.unwrap();
    // Somebody else takes the store as soon as the first lets it go.
    let store_of_next = store.clone();
    first.close().await;
    let intruder = loop {
        match store_of_next.take() {
            Ok(held) => break Some(held),
            Err(_) if second.mode() == Some(LocalMode::Owner) => break None,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    if let Some(held) = intruder {
        let mut brief = call(WRITE, "{}");
        brief.timeout = Duration::from_millis(200);
        let reply =
            second.call(caller("x"), brief, Progress::ignored(), CancellationToken::new()).await;
        let error = reply.result.unwrap_err();
        assert_eq!(error.code, "SIDECAR_UNAVAILABLE");
        assert!(error.message.contains("nothing was sent"), "{}", error.message);
        let withdrawn = CancellationToken::new();
        withdrawn.cancel();
        let reply =
            second.call(caller("x"), call(WRITE, "{}"), Progress::ignored(), withdrawn).await;
        assert_eq!(reply.result.unwrap_err().code, "CALL_CANCELLED");
        drop(held);
    }
    assert_eq!(ask(&second, WRITE, "{}").await.unwrap()["by"], "second");
}

#[tokio::test]
async fn a_store_that_is_held_without_serving_agents_is_locked() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    let held = store.take().unwrap();
    let refused = store.open(state.path(), &Probe::new("late")).await.unwrap_err();
    assert_eq!(refused.code, "STORE_LOCKED");
    drop(held);
    store.open(state.path(), &Probe::new("late")).await.unwrap();
}

#[tokio::test]
async fn what_starting_fails_with_is_told_and_leaves_nothing_behind() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    store.failures.lock().unwrap().push(refusal(ErrorCode::StoreDamaged));
    let refused = store.open(state.path(), &Probe::new("first")).await.unwrap_err();
    assert_eq!(refused.code, "STORE_DAMAGED");
    assert!(!agent_socket(state.path()).exists());
    // A socket that can't be opened lets the store go again.
    std::fs::create_dir_all(agent_socket(state.path())).unwrap();
    let refused = store.open(state.path(), &Probe::new("first")).await.unwrap_err();
    assert_eq!(refused.code, "CONFIG_INVALID", "{}", refused.message);
    std::fs::remove_dir(agent_socket(state.path())).unwrap();
    store.open(state.path(), &Probe::new("first")).await.unwrap();
}

#[tokio::test]
async fn a_failed_take_over_is_told_to_callers_and_tried_again() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    let first = store.open(state.path(), &Probe::new("first")).await.unwrap();
    let second = store.open(state.path(), &Probe::new("second")).await.unwrap();
    store.failures.lock().unwrap().extend(vec![refusal(ErrorCode::StoreDamaged); 3]);
    first.close().await;
    assert!(second.owned().await);
    assert!(store.failures.lock().unwrap().is_empty());
    assert_eq!(ask(&second, READ, "{}").await.unwrap()["by"], "second");
}

#[tokio::test]
async fn events_go_on_through_a_change_of_owner() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    let (one, two) = (Probe::new("first"), Probe::new("second"));
    let first = store.open(state.path(), &one).await.unwrap();
    let second = store.open(state.path(), &two).await.unwrap();
    let mut events = second.events(&caller("x"));
    let event = |n: u8| ToolEvent { resource: format!("ibkr://approvals/{n}") };
    ask(&second, READ, "{}").await.unwrap();
    one.events.send(event(1)).unwrap();
    assert_eq!(events.next().await.unwrap(), event(1));
    first.close().await;
    assert!(second.owned().await);
    // The owner subscribes before it serves, so whoever can attach finds it subscribed.
    let third = store.open(state.path(), &Probe::new("third")).await.unwrap();
    ask(&third, READ, "{}").await.unwrap();
    two.events.send(event(2)).unwrap();
    assert_eq!(events.next().await.unwrap(), event(2));
}

#[tokio::test]
async fn dropping_the_service_lets_the_store_go() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::default();
    let first = store.open(state.path(), &Probe::new("first")).await.unwrap();
    let second = store.open(state.path(), &Probe::new("second")).await.unwrap();
    drop(first);
    assert!(second.owned().await);
}
