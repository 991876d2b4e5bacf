//! Keeps the gateway running, and tells a human what to do and what has happened.
//!
//! ```text
//! start → listening → login required → ready (paper or live) → …
//!   └ ends before it listens: an error        └ ends later: started again, later each time, and
//!                                               given up after several ends in a short time
//! ```
//!
//! With `--json` each event is one JSON line on standard output. The end of this process ends the
//! gateway too: interrupt, termination and hang-up are passed on, and its exit is awaited. Nothing
//! is typed into a login page here.

use super::browser::LoginPage;
use super::child::{Gateway, Happened};
use super::{Ready, port};
use crate::failure::Failure;
use crate::home::Environment;
use crate::print::Printer;
use crate::run::Context;
use crate::signals;
use crate::verbs::doctor::probe::{Login, Probe};
use ibkr_agent_domain::ErrorCode;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Last lines of a gateway that failed.
const TAIL: usize = 12;
/// Lines that are logged in a [`TALK_WINDOW`]; more are counted.
const MAX_TALK: u32 = 200;
const TALK_WINDOW: Duration = Duration::from_secs(60);
/// Time for one attempt to connect to the port.
const CONNECT: Duration = Duration::from_secs(1);

/// The times and bounds of the supervision.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time until it must listen; a cold Java on a small machine takes half a minute.
    listen: Duration,
    /// How often the port is tried until then.
    try_port: Duration,
    /// Pause before the first restart; doubles each time.
    first_pause: Duration,
    /// Longest pause.
    longest_pause: Duration,
    /// Restarts within the window before it is given up.
    restarts: usize,
    /// The window of the restarts.
    window: Duration,
    /// How often the session is looked at while somebody must do something.
    waiting: Duration,
    /// How often it is looked at while it works.
    working: Duration,
}

const PACE: Pace = Pace {
    listen: Duration::from_secs(120),
    try_port: Duration::from_millis(250),
    first_pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(60),
    restarts: 5,
    window: Duration::from_secs(600),
    waiting: Duration::from_secs(3),
    working: Duration::from_secs(30),
};

/// Runs the gateway until it is told to stop, or fails for good.
pub(super) async fn run(context: &Context<'_>, ready: Ready, open: bool) -> Result<(), Failure> {
    let stop = signals::stop_token();
    stop_on_hang_up(&stop);
    let page = LoginPage::new(ready.conf.is_tls, ready.port, context.environment);
    let mut supervisor = Supervisor {
        environment: context.environment,
        teller: Teller { printer: context.printer, page, opens: open },
        ready,
        pace: PACE,
        stop,
        has_listened: false,
        talk: Talk::default(),
    };
    Box::pin(supervisor.run()).await
}

/// A closed terminal ends the gateway too: it is in a group of its own and would stay.
fn stop_on_hang_up(stop: &CancellationToken) {
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else {
        return;
    };
    let stop = stop.clone();
    tokio::spawn(async move {
        if hang_up.recv().await.is_some() {
            stop.cancel();
        }
    });
}

struct Supervisor<'a> {
    ready: Ready,
    environment: Environment<'a>,
    teller: Teller,
    pace: Pace,
    stop: CancellationToken,
    has_listened: bool,
    talk: Talk,
}

/// How one life of the process came to an end.
#[derive(Debug)]
enum Outcome {
    Stopped,
    Ended(Option<ExitStatus>),
    /// It lives and can't listen.
    PortTaken,
    /// It lives and doesn't listen in time.
    Silent,
}

impl Supervisor<'_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut ends = VecDeque::new();
        loop {
            let mut gateway = Gateway::start(&self.ready, self.environment)?;
            self.teller.started(gateway.pid());
            let outcome = Box::pin(self.watch(&mut gateway)).await;
            let status = gateway.end().await;
            let why = match outcome {
                Outcome::Stopped => {
                    self.teller.stopped(status);
                    return Ok(());
                }
                Outcome::Ended(status) => ended(status),
                Outcome::Silent => "it didn't listen in time".to_owned(),
                Outcome::PortTaken => {
                    let owner = port::owner(self.ready.port).await.unwrap_or_default();
                    format!("port {} is taken by {}", self.ready.port, owner.describe())
                }
            };
            if !self.has_listened {
                return Err(self.failed(&format!("the gateway didn't start: {why}")));
            }
            let now = Instant::now();
            ends.retain(|end| now.duration_since(*end) < self.pace.window);
            if ends.len() >= self.pace.restarts {
                let times = ends.len() + 1;
                return Err(self.failed(&format!("the gateway ended {times} times; last: {why}")));
            }
            let pause = self.pause(ends.len());
            ends.push_back(now);
            self.teller.restarting(&why, pause);
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.teller.stopped(None);
                    return Ok(());
                }
                () = sleep(pause) => {}
            }
        }
    }

    fn pause(&self, before: usize) -> Duration {
        let doublings = u32::try_from(before).unwrap_or(u32::MAX).min(16);
        let pause = self.pace.first_pause.saturating_mul(2_u32.saturating_pow(doublings));
        pause.min(self.pace.longest_pause)
    }

    fn failed(&self, message: &str) -> Failure {
        let mut failure = Failure::new(ErrorCode::BrokerBackendUnavailable, message).next_step(
            "Read the gateway's last lines and its logs folder; run ibkr-agent gateway check.",
        );
        failure.0.details = self.talk.tail.iter().cloned().collect();
        failure
    }

    /// Follows one life of the process.
    async fn watch(&mut self, gateway: &mut Gateway) -> Outcome {
        if let Err(outcome) = self.until_it_listens(gateway).await {
            return outcome;
        }
        self.has_listened = true;
        self.teller.listening();
        let (told, mut logins) = mpsc::channel(8);
        // Ends with this function.
        let mut watching = JoinSet::new();
        if let Some(probe) = Probe::new(&self.teller.page.url, Some(self.address())) {
            watching.spawn(watch_login(probe, told, self.pace));
        }
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Outcome::Stopped,
                happened = gateway.next() => if let Err(outcome) = self.take(happened) {
                    return outcome;
                },
                Some(login) = logins.recv() => self.teller.login(login).await,
            }
        }
    }

    async fn until_it_listens(&mut self, gateway: &mut Gateway) -> Result<(), Outcome> {
        let deadline = Instant::now() + self.pace.listen;
        let mut again = interval(self.pace.try_port);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Outcome::Stopped),
                happened = gateway.next() => self.take(happened)?,
                _ = again.tick() => match self.listens(gateway.pid()).await {
                    Some(true) => return Ok(()),
                    Some(false) => return Err(Outcome::PortTaken),
                    None if Instant::now() > deadline => return Err(Outcome::Silent),
                    None => {}
                },
            }
        }
    }

    /// Whether the process is the one who listens; `None` while nobody does.
    async fn listens(&self, pid: u32) -> Option<bool> {
        let connected = timeout(CONNECT, TcpStream::connect(self.address())).await;
        if !matches!(connected, Ok(Ok(_))) {
            return None;
        }
        match port::owner(self.ready.port).await {
            // A process that can't be seen is another user's, so not ours.
            Some(owner) => Some(owner.is_child(pid).unwrap_or(false)),
            // It can't be found out here; the port was free before, and it doesn't complain.
            None => Some(true),
        }
    }

    fn address(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ready.port).into()
    }

    fn take(&mut self, happened: Happened) -> Result<(), Outcome> {
        match happened {
            Happened::Said(line) => {
                self.talk.note(&line.text);
                if line.is_listen_failure { Err(Outcome::PortTaken) } else { Ok(()) }
            }
            Happened::Ended(status) => Err(Outcome::Ended(status)),
        }
    }
}

fn ended(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("it ended ({status})"),
        None => "it ended".to_owned(),
    }
}

/// Looks at the session and tells each change.
async fn watch_login(probe: Probe, told: mpsc::Sender<Login>, pace: Pace) {
    let mut last = None;
    loop {
        let login = probe.login().await;
        if last != Some(login) {
            last = Some(login);
            if told.send(login).await.is_err() {
                return;
            }
        }
        let works = matches!(login, Login::Ready { .. });
        sleep(if works { pace.working } else { pace.waiting }).await;
    }
}

/// What the gateway says, bounded in lines as [`super::child`] bounds each line.
#[derive(Debug, Default)]
struct Talk {
    tail: VecDeque<String>,
    window: Option<Instant>,
    logged: u32,
    dropped: u32,
}

impl Talk {
    fn note(&mut self, text: &str) {
        if self.tail.len() >= TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
        let now = Instant::now();
        if self.window.is_none_or(|start| now.duration_since(start) >= TALK_WINDOW) {
            if self.dropped > 0 {
                tracing::info!(lines = self.dropped, "gateway.lines_dropped");
            }
            (self.window, self.logged, self.dropped) = (Some(now), 0, 0);
        }
        if self.logged < MAX_TALK {
            self.logged += 1;
            tracing::info!(line = %text, "gateway.said");
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

/// Tells what happens: sentences for people, a JSON line per event for programs.
struct Teller {
    printer: Printer,
    page: LoginPage,
    /// Whether the login page is still to be opened.
    opens: bool,
}

impl Teller {
    fn tell(&self, event: &Value, sentence: &str) {
        if self.printer.is_json() {
            if let Err(failure) = self.printer.value(event) {
                tracing::warn!(error = %failure, "gateway.event_not_printed");
            }
        } else {
            self.printer.say(sentence);
        }
    }

    fn started(&self, pid: u32) {
        let sentence = format!("The gateway is starting (process {pid}).");
        self.tell(&json!({ "event": "started", "pid": pid }), &sentence);
    }

    fn listening(&self) {
        let LoginPage { url, tunnel, .. } = &self.page;
        let event = json!({ "event": "listening", "login_url": url, "tunnel": tunnel });
        self.tell(&event, &format!("The gateway listens at {url}"));
    }

    fn restarting(&self, why: &str, pause: Duration) {
        let sentence = format!("{why}; it is started again in {} s.", pause.as_secs());
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let event = json!({ "event": "restarting", "why": why, "in_ms": millis });
        self.tell(&event, &sentence);
    }

    fn stopped(&self, status: Option<ExitStatus>) {
        let status = status.map(|status| status.to_string());
        self.tell(&json!({ "event": "stopped", "status": status }), "The gateway is stopped.");
    }

    async fn login(&mut self, login: Login) {
        let (state, sentence) = self.describe(login);
        let mode = match login {
            Login::Ready { is_paper } => {
                is_paper.map(|is_paper| if is_paper { "paper" } else { "live" })
            }
            Login::NoConnection
            | Login::Closed
            | Login::Hangs
            | Login::AddressRefused
            | Login::LoggedOut
            | Login::BrokerageDown
            | Login::Competing
            | Login::Unclear(_) => None,
        };
        let event = json!({ "event": "session", "state": state, "mode": mode, "says": sentence });
        self.tell(&event, &sentence);
        if login == Login::LoggedOut && std::mem::take(&mut self.opens) {
            match self.page.open().await {
                Ok(()) => self.printer.say("The login page was handed to the browser."),
                Err(why) => self.printer.notice(&format!("The login page wasn't opened: {why}.")),
            }
        }
    }

    fn describe(&self, login: Login) -> (&'static str, String) {
        let text = str::to_owned;
        match login {
            Login::NoConnection => ("no_connection", text("The gateway's port doesn't answer.")),
            Login::Closed => ("closed", text("The gateway closes connections without an answer.")),
            Login::Hangs => (
                "no_answer",
                text(
                    "The gateway takes requests and doesn't answer: it can't reach IBKR. Check \
                    this machine's way to the internet and proxyRemoteHost.",
                ),
            ),
            Login::AddressRefused => ("address_refused", text("The gateway refuses loopback.")),
            Login::LoggedOut => ("login_required", self.page.instructions()),
            Login::BrokerageDown => (
                "brokerage_down",
                text(
                    "Somebody is logged in, but the brokerage session is down. The sidecar \
                    brings it up by itself; no new login is needed.",
                ),
            ),
            Login::Competing => (
                "competing",
                text(
                    "The same username is active elsewhere, in TWS, the app or the portal. End \
                    it there, or use a second username for this gateway.",
                ),
            ),
            Login::Ready { is_paper: Some(true) } => {
                ("ready", text("Logged in: a PAPER account. No money moves."))
            }
            Login::Ready { is_paper: Some(false) } => {
                ("ready", text("Logged in: a LIVE account. Orders are real money."))
            }
            Login::Ready { is_paper: None } => (
                "ready",
                text("Logged in. Whether PAPER or LIVE isn't told yet: take it for LIVE."),
            ),
            Login::Unclear(status) => {
                ("unclear", format!("The gateway answers with HTTP {status}, which says nothing."))
            }
        }
    }
}

#[cfg(test)]
mod tests;
