//! Notices: what a human must hear of without asking, told by a command or a signed webhook.
//!
//! | file | does |
//! |---|---|
//! | `notices/message.rs` | what is told, as one JSON object |
//! | `notices/watch.rs` | the session's changes, each told once |
//! | `notices/hook.rs` | runs a program, the object on its standard input |
//! | `notices/webhook.rs` | posts it, signed as Standard Webhooks ask |
//!
//! A notice carries no link and no code that acts: whoever reads or forges one can do nothing with
//! it. Each channel has a bounded queue and tries again a few times, so that a slow one delays
//! nobody; a message is told at least once per channel, and its id is the same at each try.

mod hook;
mod message;
mod watch;
mod webhook;

pub use message::{Kind, Message, Urgency};
pub use webhook::{SecretError, WebhookSecret};

use crate::brokers::Brokers;
use crate::engine::Notice;
use crate::invocation::Invocation;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Messages that wait for one channel.
const QUEUE: usize = 256;
/// Pauses before the second and later tries.
const PAUSES: &[Duration] =
    &[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// How often the sessions are looked at; that makes no request.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where notices go. Nowhere by default, but for the log.
#[derive(Debug, Clone)]
pub struct NoticeSettings {
    /// A program with its arguments; the path must be absolute. No shell is involved.
    pub command: Option<Vec<String>>,
    /// A webhook.
    pub webhook: Option<WebhookSettings>,
    /// How long a session must be lost before that is told: the keeper may bring it back by itself.
    pub lost_after: Duration,
    /// How long before a session's end a human is reminded.
    pub remind_before: Duration,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        Self {
            command: None,
            webhook: None,
            lost_after: Duration::from_secs(10),
            remind_before: Duration::from_secs(15 * 60),
        }
    }
}

/// A webhook that notices are posted to.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Its address: https, or http on loopback.
    pub url: String,
    /// The shared secret that signs each message.
    pub secret: WebhookSecret,
}

/// The driver's end: never blocks.
#[derive(Debug, Clone)]
pub(crate) struct NoticeSender(mpsc::UnboundedSender<Notice>);

impl NoticeSender {
    /// Tells; a stopped teller needs to know nothing. What comes in is bounded by admission: each
    /// notice follows a recorded event.
    pub(crate) fn tell(&self, notice: Notice) {
        drop(self.0.send(notice));
    }

    /// A sender with its receiving end.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<Notice>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }
}

/// What a notice is made with.
pub(crate) struct Teller {
    /// Whose sessions are watched.
    pub(crate) brokers: Arc<Brokers>,
    /// How the commands in it are begun.
    pub(crate) invocation: Invocation,
}

/// Starts the channels and the task that feeds them.
pub(crate) fn spawn(
    settings: &NoticeSettings,
    Teller { brokers, invocation }: Teller,
    mut notices: mpsc::UnboundedReceiver<Notice>,
    shutdown: CancellationToken,
    tracker: &TaskTracker,
) {
    let channels = Channels::start(settings, invocation, &shutdown, tracker);
    let mut sessions = watch::Sessions::new(settings, &brokers);
    tracker.spawn(async move {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                notice = notices.recv() => match notice {
                    Some(notice) => channels.tell(&Message::of_engine(notice)),
                    None => return,
                },
                _ = look.tick() => {
                    for message in sessions.look(&brokers) {
                        channels.tell(&message);
                    }
                }
            }
        }
    });
}

/// The queues of one channel: what can't wait never stands behind questions, which a caller can
/// ask in any number.
struct Queues {
    pressing: mpsc::Sender<Arc<Message>>,
    questions: mpsc::Sender<Arc<Message>>,
}

/// The queues of the channels that are configured.
struct Channels {
    queues: Vec<Queues>,
    invocation: Invocation,
}

impl Channels {
    fn start(
        settings: &NoticeSettings,
        invocation: Invocation,
        shutdown: &CancellationToken,
        tracker: &TaskTracker,
    ) -> Self {
        let mut queues = Vec::new();
        let mut add = |channel: Channel| {
            let channel = Arc::new(channel);
            let lane = || {
                let (queue, messages) = mpsc::channel(QUEUE);
                tracker.spawn(deliver(Arc::clone(&channel), messages, shutdown.clone()));
                queue
            };
            queues.push(Queues { pressing: lane(), questions: lane() });
        };
        if let Some(command) = &settings.command {
            add(Channel::Hook(command.clone()));
        }
        if let Some(webhook) = &settings.webhook {
            match webhook::Webhook::new(webhook) {
                Ok(webhook) => add(Channel::Webhook(Box::new(webhook))),
                Err(error) => tracing::error!(error, "notice.webhook_unusable"),
            }
        }
        Self { queues, invocation }
    }

    fn tell(&self, message: &Message) {
        tracing::info!(
            notice.id = %message.id,
            notice.kind = message.kind.as_str(),
            notice.sentence = %message.sentence,
            "notice"
        );
        let mut message = message.clone();
        message.next_step = self.invocation.spell(&message.next_step);
        let message = Arc::new(message);
        for queues in &self.queues {
            let queue = match message.kind {
                Kind::ApprovalAsked | Kind::QuestionAsked => &queues.questions,
                Kind::LoginRequired
                | Kind::SessionLost
                | Kind::SessionReady
                | Kind::SessionEnding
                | Kind::OutcomeUnknown
                | Kind::OrderChangedAtBroker
                | Kind::Overfilled
                | Kind::TwinOrder
                | Kind::FillTakenBack
                | Kind::OrderUnreadable
                | Kind::OrderLeftBehind
                | Kind::OrderHeld
                | Kind::OrderVanished
                | Kind::Halted
                | Kind::ForeignOrder
                | Kind::PositionJumped => &queues.pressing,
            };
            if queue.try_send(Arc::clone(&message)).is_err() {
                tracing::error!(notice.id = %message.id, "notice.queue_full");
            }
        }
    }
}

enum Channel {
    Hook(Vec<String>),
    Webhook(Box<webhook::Webhook>),
}

impl Channel {
    const fn name(&self) -> &'static str {
        match self {
            Self::Hook(_) => "command",
            Self::Webhook(_) => "webhook",
        }
    }

    async fn send(&self, message: &Message) -> Result<(), &'static str> {
        match self {
            Self::Hook(command) => hook::run(command, message).await,
            Self::Webhook(webhook) => webhook.post(message).await,
        }
    }
}

/// Delivers one message after the other, each a few times if need be.
async fn deliver(
    channel: Arc<Channel>,
    mut messages: mpsc::Receiver<Arc<Message>>,
    shutdown: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = shutdown.cancelled() => return,
            message = messages.recv() => match message {
                Some(message) => message,
                None => return,
            },
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = deliver_one(&channel, &message) => {}
        }
    }
}

async fn deliver_one(channel: &Channel, message: &Message) {
    let mut pauses = PAUSES.iter();
    while let Err(why) = channel.send(message).await {
        let Some(pause) = pauses.next() else {
            let id = message.id.as_str();
            tracing::error!(notice.id = id, channel = channel.name(), why, "notice.undelivered");
            return;
        };
        tokio::time::sleep(*pause).await;
    }
}
