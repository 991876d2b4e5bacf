//! Keeps one link to one address of the relay: dial, run, back off, dial again.
//!
//! Back-off grows with jitter and is reset only after a link was stable; a remote that refuses the
//! certificate or identity is asked rarely, and the status says to pair again. For several
//! replicas behind several addresses, run a dialler for each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use ibkr_agent_domain::SidecarId;
use ibkr_agent_protocol::relay::Settings;
use ibkr_agent_protocol::service::ToolEvent;
use ibkr_agent_token::Validator;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::calls::Runner;
use super::credentials::{Credentials, CredentialsError, Identity};
use super::dial::dial;
use super::refusals::Recorder;
use super::session::{self, Context};
use super::{Advice, RelayDoor, RelayStatus};

/// Events that a link may be behind before it skips the oldest.
const EVENTS: usize = 256;

/// Pauses between attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    /// The shortest.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// How long a link must have lived for the pauses to start over.
    pub stable: Duration,
    /// The pause when the remote wants the sidecar to be paired again.
    pub pair_again: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
            stable: Duration::from_secs(30),
            pair_again: Duration::from_secs(300),
        }
    }
}

/// How a dialler works.
#[derive(Debug, Clone)]
pub struct DiallerConfig {
    /// The folder that [`super::pair`] filled.
    pub state_dir: PathBuf,
    /// Times and bounds of the link.
    pub settings: Settings,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Time for TCP, TLS and WebSocket together.
    pub dial_timeout: Duration,
}

impl DiallerConfig {
    /// The defaults over a state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            settings: Settings::default(),
            backoff: Backoff::default(),
            dial_timeout: Duration::from_secs(20),
        }
    }
}

/// What others hold of a dialler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DiallerHandle {
    sidecar_id: SidecarId,
    status: watch::Receiver<RelayStatus>,
    events: broadcast::Sender<ToolEvent>,
    checkpoint: watch::Sender<Option<String>>,
}

impl DiallerHandle {
    /// The sidecar's id at the remote.
    #[must_use]
    pub const fn sidecar_id(&self) -> &SidecarId {
        &self.sidecar_id
    }

    /// How the link is, now and as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.clone()
    }

    /// Tells the remote that a resource changed. Without a link it is lost.
    pub fn publish(&self, event: ToolEvent) {
        // Nobody is listening when there is no link.
        drop(self.events.send(event));
    }

    /// Gives the remote the newest checkpoint, now and at the start of every later link.
    pub fn publish_checkpoint(&self, note: String) {
        self.checkpoint.send_replace(Some(note));
    }
}

/// The dialler, ready to run.
pub struct Dialler<D> {
    context: Context<D>,
    recorder: Recorder<D>,
    backoff: Backoff,
    dial_timeout: Duration,
}

impl<D> core::fmt::Debug for Dialler<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Dialler").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

impl<D: RelayDoor> Dialler<D> {
    /// Reads keys and certificate of a paired sidecar.
    ///
    /// # Errors
    /// [`CredentialsError`] if it was never paired or the files are damaged.
    pub fn open(
        config: DiallerConfig,
        door: Arc<D>,
        validator: Validator,
    ) -> Result<(DiallerHandle, Self), CredentialsError> {
        let DiallerConfig { state_dir, settings, backoff, dial_timeout } = config;
        let credentials = Credentials::load(&state_dir)?;
        let identity = Identity::load_or_create(&state_dir)?;
        let (status, watched) = watch::channel(RelayStatus::Connecting);
        let events = broadcast::Sender::new(EVENTS);
        let checkpoint = watch::Sender::new(None);
        let handle = DiallerHandle {
            sidecar_id: credentials.sidecar_id().clone(),
            status: watched,
            events: events.clone(),
            checkpoint: checkpoint.clone(),
        };
        let (refusals, recorder) = Recorder::new(Arc::clone(&door));
        let context = Context {
            settings,
            identity,
            credentials: ArcSwap::from_pointee(credentials),
            runner: Runner::new(door, validator),
            status,
            events,
            checkpoint,
            refusals,
        };
        Ok((handle, Self { context, recorder, backoff, dial_timeout }))
    }

    /// Dials until told to stop; then drains the link and waits for the calls that still run, for
    /// as long as a drain may last.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { context, recorder, backoff, dial_timeout } = self;
        let recording = tokio::spawn(recorder.run());
        keep_link(&context, &backoff, dial_timeout, &shutdown).await;
        let Context { settings, runner, status, refusals, .. } = context;
        drop(refusals);
        let stopped = async {
            runner.drained().await;
            // A recorder that broke has nothing more to wait for.
            drop(recording.await);
        };
        if tokio::time::timeout(settings.drain, stopped).await.is_err() {
            tracing::warn!("the relay stopped while calls still ran");
        }
        status.send_replace(RelayStatus::Disconnected {
            reason: "stopped".to_owned(),
            advice: Advice::Wait,
            retry_in: None,
        });
    }
}

/// Dials, runs the link, backs off, until told to stop.
async fn keep_link<D: RelayDoor>(
    context: &Context<D>,
    backoff: &Backoff,
    dial_timeout: Duration,
    shutdown: &CancellationToken,
) {
    let mut pause = backoff.first;
    while !shutdown.is_cancelled() {
        context.status.send_replace(RelayStatus::Connecting);
        let credentials = context.credentials.load_full();
        let dialled = tokio::select! {
            () = shutdown.cancelled() => break,
            dialled = dial(&credentials, dial_timeout) => dialled,
        };
        let begun = Instant::now();
        let failed = match dialled {
            Ok(dialled) => session::run(dialled, context, shutdown).await,
            Err(failed) => failed,
        };
        if begun.elapsed() >= backoff.stable {
            pause = backoff.first;
        }
        if shutdown.is_cancelled() {
            break;
        }
        let wait = match failed.advice {
            Advice::Wait => jittered(pause),
            Advice::PairAgain => jittered(backoff.pair_again),
        };
        pause = pause.saturating_mul(2).min(backoff.longest);
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let (reason, advice) = (failed.reason, failed.advice);
        tracing::warn!(
            relay.reason = %reason,
            relay.advice = ?advice,
            relay.retry_in_ms = milliseconds,
            "no link to the relay"
        );
        let retry_in = Some(wait);
        context.status.send_replace(RelayStatus::Disconnected { reason, advice, retry_in });
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Half of a pause and a random part of the other half, so that sidecars don't come in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness the pause is whole, which is safe.
    let share = match rand::fill(&mut byte) {
        Ok(()) => u32::from(byte.first().copied().unwrap_or(u8::MAX)),
        Err(_) => u32::from(u8::MAX),
    };
    let half = pause / 2;
    half.saturating_add(half.saturating_mul(share) / u32::from(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittered_pause_is_between_half_and_whole() {
        let pause = Duration::from_secs(8);
        for _ in 0..1000 {
            let wait = jittered(pause);
            assert!(wait >= Duration::from_secs(4) && wait <= pause, "{wait:?}");
        }
    }
}
