//! What the remote says that it refused, on its way to the audit log.
//!
//! A link hands frames to one task, which outlives the links of its dialler. All of it is a claim
//! of the remote: it is recorded as such, it starts nothing and counts against nobody.
//!
//! Bounds: [`MAX_RECORDS`] records a minute, then one with the number of those that were left out.
//! Frames that come faster than they are recorded are left out too, and counted.

use core::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ibkr_agent_domain::{ErrorCode, Timestamp, Untrusted};
use ibkr_agent_protocol::relay::frame::{RefusalCount, Refusals, RefusedCaller};
use tokio::sync::mpsc;

use super::RelayDoor;

/// Records that one dialler's remote can cause in a minute, beside the one that counts the rest.
pub const MAX_RECORDS: u32 = 60;

const WINDOW: Duration = Duration::from_secs(60);
/// Frames that may wait to be recorded.
const QUEUE: usize = 8;
/// Longest replica name in a record, in characters.
const MAX_REPLICA_CHARS: usize = 64;
/// Longest subject or client in a record, in characters.
const MAX_LABEL_CHARS: usize = 128;
/// The last second of the year 9999: a later time is no claim worth keeping.
const LAST_SECOND: u64 = 253_402_300_799;

/// How many refusals a [`RemoteRefusal`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// One, of a caller that the remote names.
    One,
    /// So many for one reason in one minute.
    Counted(u64),
    /// So many that were left out because more came than are recorded.
    LeftOut(u64),
}

/// Refusals that happened at the remote, as it claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRefusal {
    /// The replica, and the caller if the remote names one.
    pub claimed: Untrusted,
    /// Why, if it is a code that we know.
    pub reason: Option<ErrorCode>,
    /// The tool as the remote names it.
    pub tool: Option<String>,
    /// How many.
    pub tally: Tally,
    /// When.
    pub at: Option<Timestamp>,
}

/// A frame with the replica that sent it.
#[derive(Debug)]
struct Frame {
    replica: String,
    refusals: Refusals,
}

/// Where links leave what they were told. Never waits.
#[derive(Debug)]
pub(super) struct Teller {
    queue: mpsc::Sender<Frame>,
    missed: Arc<AtomicU64>,
}

impl Teller {
    /// Hands a frame on, or counts what was in it.
    pub(super) fn tell(&self, replica: &str, refusals: Refusals) {
        let replica = Untrusted::bounded(replica, MAX_REPLICA_CHARS).to_string();
        if let Err(error) = self.queue.try_send(Frame { replica, refusals }) {
            let Frame { refusals, .. } = error.into_inner();
            let more = total(&refusals);
            let add = |missed: u64| Some(missed.saturating_add(more));
            // The update always has a value, so it can't fail.
            let _ = self.missed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }
}

fn total(refusals: &Refusals) -> u64 {
    let callers = u64::try_from(refusals.callers.len()).unwrap_or(u64::MAX);
    refusals.counts.iter().fold(callers, |total, count| total.saturating_add(count.count))
}

/// Passes what may be recorded one by one and counts the rest.
#[derive(Debug, Default)]
struct Limiter {
    since: Option<Instant>,
    made: u32,
    left_out: u64,
}

impl Limiter {
    /// Whether a record that stands for `count` refusals may be made.
    fn admit(&mut self, count: u64, now: Instant) -> bool {
        let over = self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW);
        // What was left out of the past minute is still to be told: the new one waits for that.
        if over && self.left_out == 0 {
            self.since = Some(now);
            self.made = 0;
        }
        let is_admitted = self.made < MAX_RECORDS;
        if is_admitted {
            self.made = self.made.saturating_add(1);
        } else {
            self.leave_out(count, now);
        }
        is_admitted
    }

    fn leave_out(&mut self, count: u64, now: Instant) {
        self.since.get_or_insert(now);
        self.left_out = self.left_out.saturating_add(count);
    }

    /// When what was left out is to be told.
    fn due(&self) -> Option<Instant> {
        let since = self.since.filter(|_| self.left_out > 0)?;
        Some(since.checked_add(WINDOW).unwrap_or(since))
    }

    fn take_left_out(&mut self) -> Option<u64> {
        self.since = None;
        self.made = 0;
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then_some(left_out)
    }
}

/// The task that records what the remote tells.
#[derive(Debug)]
pub(super) struct Recorder<D> {
    door: Arc<D>,
    queue: mpsc::Receiver<Frame>,
    missed: Arc<AtomicU64>,
    limiter: Limiter,
    replica: String,
}

impl<D: RelayDoor> Recorder<D> {
    pub(super) fn new(door: Arc<D>) -> (Teller, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        let teller = Teller { queue: sender, missed: Arc::clone(&missed) };
        let limiter = Limiter::default();
        (teller, Self { door, queue, missed, limiter, replica: String::new() })
    }

    /// Records until the teller is gone.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.limiter.due();
            tokio::select! {
                frame = self.queue.recv() => match frame {
                    Some(frame) => self.record(frame).await,
                    None => break,
                },
                () = until(due) => self.tell_left_out().await,
            }
        }
        self.tell_left_out().await;
    }

    async fn record(&mut self, frame: Frame) {
        let Frame { replica, refusals } = frame;
        self.replica = replica;
        for caller in refusals.callers {
            if self.limiter.admit(1, Instant::now()) {
                self.door.refused_at_remote(of_caller(&self.replica, caller)).await;
            }
        }
        for count in refusals.counts {
            if self.limiter.admit(count.count, Instant::now()) {
                self.door.refused_at_remote(of_count(&self.replica, &count)).await;
            }
        }
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            self.limiter.leave_out(missed, Instant::now());
        }
    }

    async fn tell_left_out(&mut self) {
        let Some(left_out) = self.limiter.take_left_out() else { return };
        let refusal = RemoteRefusal {
            claimed: Untrusted::new(&format!("remote {}", self.replica)),
            reason: None,
            tool: None,
            tally: Tally::LeftOut(left_out),
            at: None,
        };
        self.door.refused_at_remote(refusal).await;
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}

fn of_caller(replica: &str, caller: RefusedCaller) -> RemoteRefusal {
    let RefusedCaller { reason, tool, subject, client, at } = caller;
    let subject = Untrusted::bounded(&subject, MAX_LABEL_CHARS);
    let client = Untrusted::bounded(client.as_deref().unwrap_or("-"), MAX_LABEL_CHARS);
    RemoteRefusal {
        claimed: Untrusted::new(&format!("remote {replica}: {subject}|{client}")),
        reason: ErrorCode::parse(&reason),
        tool,
        tally: Tally::One,
        at: time(at),
    }
}

fn of_count(replica: &str, count: &RefusalCount) -> RemoteRefusal {
    RemoteRefusal {
        claimed: Untrusted::new(&format!("remote {replica}")),
        reason: ErrorCode::parse(&count.reason),
        tool: None,
        tally: Tally::Counted(count.count),
        at: time(count.minute),
    }
}

fn time(seconds: u64) -> Option<Timestamp> {
    let seconds = Some(seconds).filter(|seconds| *seconds <= LAST_SECOND)?;
    let millis = i64::try_from(seconds).ok()?.checked_mul(1000)?;
    Some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_protocol::service::{ErrorBody, Progress, ToolCall, ToolReply};
    use ibkr_agent_token::Verified;
    use tokio_util::sync::CancellationToken;

    /// A door that passes on what it was told.
    struct Door(mpsc::UnboundedSender<RemoteRefusal>);

    impl RelayDoor for Door {
        async fn call(
            &self,
            _verified: Verified,
            call: ToolCall,
            _progress: Progress,
            _cancelled: CancellationToken,
        ) -> ToolReply {
            self.refused(ErrorCode::InternalError, &call).await
        }

        async fn refused(&self, code: ErrorCode, call: &ToolCall) -> ToolReply {
            ToolReply::failure(call.call_id.clone(), ErrorBody::new(code, "refused"))
        }

        async fn refused_at_remote(&self, refusal: RemoteRefusal) {
            self.0.send(refusal).unwrap();
        }
    }

    /// Everything that is recorded of some frames by the time the dialler has stopped.
    async fn recorded(frames: Vec<Refusals>) -> Vec<RemoteRefusal> {
        let (sender, mut told) = mpsc::unbounded_channel();
        let (teller, recorder) = Recorder::new(Arc::new(Door(sender)));
        for frame in frames {
            teller.tell("r-1", frame);
        }
        drop(teller);
        tokio::time::timeout(Duration::from_secs(20), recorder.run()).await.unwrap();
        let mut all = Vec::new();
        while let Ok(refusal) = told.try_recv() {
            all.push(refusal);
        }
        all
    }

    fn counts(of: &[u64]) -> Refusals {
        let reason = "AUTH_TOKEN_INVALID".to_owned();
        let count =
            |count: &u64| RefusalCount { reason: reason.clone(), minute: 60, count: *count };
        Refusals { callers: Vec::new(), counts: of.iter().map(count).collect() }
    }

    #[tokio::test]
    async fn a_caller_and_a_count_are_told_as_the_remotes_claims() {
        let caller = RefusedCaller {
            reason: "AUTH_MISSING_SCOPE".to_owned(),
            tool: Some("ibkr_health".to_owned()),
            subject: "ali\u{1b}[2Jce".to_owned(),
            client: None,
            at: u64::MAX,
        };
        let mut frame = counts(&[7]);
        frame.callers.push(caller);
        frame.counts[0].reason = "NOT_A_CODE".to_owned();
        let told = recorded(vec![frame]).await;
        let of_caller = RemoteRefusal {
            claimed: Untrusted::new("remote r-1: ali\\u{1b}[2Jce|-"),
            reason: Some(ErrorCode::AuthMissingScope),
            tool: Some("ibkr_health".to_owned()),
            tally: Tally::One,
            at: None,
        };
        let of_count = RemoteRefusal {
            claimed: Untrusted::new("remote r-1"),
            reason: None,
            tool: None,
            tally: Tally::Counted(7),
            at: Some(Timestamp::from_millis(60_000)),
        };
        assert_eq!(told, [of_caller, of_count]);
    }

    #[tokio::test]
    async fn a_flood_makes_sixty_records_and_one_that_counts_the_rest() {
        let sixty = vec![counts(&[1; 32]), counts(&[1; 28])];
        assert_eq!(recorded(sixty.clone()).await.len(), 60);
        let more = [sixty, vec![counts(&[5]), counts(&[u64::MAX, 1])]].concat();
        let told = recorded(more).await;
        assert_eq!(told.len(), 61);
        assert_eq!(told[60].tally, Tally::LeftOut(u64::MAX));
        assert_eq!(told[60].claimed.as_str(), "remote r-1");
    }

    #[tokio::test]
    async fn frames_beyond_the_queue_are_counted() {
        let told = recorded(vec![counts(&[3]); QUEUE + 2]).await;
        assert_eq!(told.len(), QUEUE + 1);
        assert_eq!(told[QUEUE].tally, Tally::LeftOut(6));
    }

    #[test]
    fn a_new_minute_admits_again_once_the_rest_of_the_last_was_told() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for _ in 0..MAX_RECORDS {
            assert!(limiter.admit(1, start));
        }
        assert_eq!(limiter.due(), None);
        let before = start + WINDOW - Duration::from_millis(1);
        assert!(!limiter.admit(4, before));
        assert_eq!(limiter.due(), Some(start + WINDOW));
        assert!(!limiter.admit(2, start + WINDOW));
        assert_eq!(limiter.take_left_out(), Some(6));
        assert_eq!((limiter.due(), limiter.take_left_out()), (None, None));
        for _ in 0..MAX_RECORDS {
            assert!(limiter.admit(1, start + WINDOW));
        }
        assert!(!limiter.admit(1, start + WINDOW));

        // What was missed at the start of a minute takes nothing from the rest of it.
        assert_eq!(limiter.take_left_out(), Some(1));
        limiter.leave_out(9, start + WINDOW * 2);
        assert!(limiter.admit(1, start + WINDOW * 2));
    }
}
