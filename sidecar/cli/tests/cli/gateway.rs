//! `gateway check` and `gateway run` over a folder that looks like IBKR's download, with a script
//! in place of Java that becomes our simulator. IBKR's own program is no part of this repository.

use crate::support::{BINARY, Home, Ran, Server, signal};
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONF: &str = "proxyRemoteHost: \"https://api.ibkr.com\"\nlistenPort: 5000\n\
    listenSsl: true\nips:\n  allow:\n    - 127.0.0.1\n  deny:\n    - 212.90.324.10\n";

/// A home with a downloaded gateway and a Java.
struct Download {
    home: Home,
    port: u16,
}

impl Download {
    /// `java` is what the script does once it is asked for more than its version.
    fn new(java: &str) -> Self {
        let home = Home::new();
        for file in ["bin/run.sh", "dist/x.clientportal.gw.jar", "build/lib/runtime/vertx.jar"] {
            write(&home.path().join("gw").join(file), "");
        }
        write(&home.path().join("gw").join("root").join("conf.yaml"), CONF);
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = -version ]; then\n  \
             echo 'openjdk version \"17.0.1\"' >&2\n  exit 0\nfi\n\
             port=$(sed -n 's/^listenPort: //p' root/conf-ibkr-agent.yaml)\n\
             printf '%s\\n' \"$@\" > argv\nenv > environment\n{java}\n"
        );
        let path = home.path().join("jre/java");
        std::fs::create_dir_all(home.path().join("jre")).unwrap();
        // A process of its own writes it: what this one had open for writing may not be run while
        // another test starts something.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", &script]);
        assert!(shell.arg(&path).status().unwrap().success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { home, port }
    }

    /// A Java that becomes the simulator, as a gateway does: TLS, and who is logged in.
    fn simulated(login: &str) -> Self {
        Self::new(&format!(
            "exec {BINARY} --state-dir . simulator run --bind 127.0.0.1:$port --tls --login {login}"
        ))
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("gw")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(["gateway", verb, "--json", "--dir", "gw", "--port", &self.port.to_string()])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.home.path().join("jre").display()))
            .env("IBKR_AGENT_HOME", self.home.path())
            .env("USER", "ann")
            .env("SSH_CONNECTION", "198.51.100.9 50000 198.51.100.1 22")
            .env("IBKR_SECRET_OF_OURS", "canary")
            .current_dir(self.home.path());
        command
    }

    fn ran(&self, verb: &str) -> Ran {
        let output = self.command(verb).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// State of a check in a report on standard output.
fn state(ran: &Ran, check: &str) -> String {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|found| found["check"] == check);
    found.map_or("absent", |found| found["state"].as_str().unwrap()).to_owned()
}

/// Events until one of a name.
fn until(server: &mut Server, name: &str) -> Value {
    for _ in 0..20 {
        let event = server.line();
        if event["event"] == name {
            return event;
        }
    }
    panic!("no {name} among 20 events");
}

#[test]
fn a_good_download_passes_the_check_and_nothing_is_changed() {
    let download = Download::new("exit 1");
    let ran = download.ran("check");
    assert_eq!(ran.code, 0, "{ran:?}");
    for check in ["folder", "java", "conf", "remote", "tls", "addresses", "origins", "port"] {
        assert_eq!(state(&ran, &format!("gateway.{check}")), "ok", "{ran:?}");
    }
    assert_eq!(std::fs::read_dir(download.folder().join("root")).unwrap().count(), 1);
    assert!(!download.home.path().join("simulator").exists(), "no state is touched");
}

#[test]
fn each_thing_that_is_wrong_has_its_own_state_and_the_first_failure_the_exit_code() {
    let download = Download::new("exit 1");
    let taken = TcpListener::bind(("127.0.0.1", download.port)).unwrap();
    let ran = download.ran("check");
    assert_eq!((ran.code, state(&ran, "gateway.port").as_str()), (3, "fail"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("process {}", std::process::id())), "{ran:?}");
    assert!(ran.stderr.contains("BROKER_BACKEND_UNAVAILABLE"), "{ran:?}");
    drop(taken);

    let conf = download.folder().join("root/conf.yaml");
    write(&conf, &CONF.replace("api.ibkr.com", "api.ibkr.com.example"));
    let ran = download.ran("check");
    assert_eq!((ran.code, state(&ran, "gateway.remote").as_str()), (7, "fail"), "{ran:?}");
    write(&conf, "listenPort: [\n");
    let ran = download.ran("check");
    assert_eq!((ran.code, state(&ran, "gateway.conf").as_str()), (7, "fail"), "{ran:?}");

    std::fs::remove_file(download.home.path().join("jre/java")).unwrap();
    std::fs::remove_dir_all(download.folder().join("dist")).unwrap();
    let output = download.command("check").env("PATH", "/nonexistent").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let ran = Ran { code: output.status.code().unwrap(), stdout, stderr: String::new() };
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(state(&ran, "gateway.folder"), "fail");
    assert_eq!(state(&ran, "gateway.java"), "fail");
}

#[test]
fn run_starts_it_walled_in_and_says_that_paper_is_logged_in() {
    let download = Download::simulated("paper");
    let mut server = Server::spawn(download.command("run"));
    let listening = until(&mut server, "listening");
    let port = download.port;
    assert_eq!(listening["login_url"], format!("https://localhost:{port}/"));
    let tunnel = format!("ssh -L {port}:127.0.0.1:{port} ann@198.51.100.1");
    assert_eq!(listening["tunnel"], tunnel);
    let session = until(&mut server, "session");
    assert_eq!((&session["state"], &session["mode"]), (&"ready".into(), &"paper".into()));
    assert!(session["says"].as_str().unwrap().contains("PAPER"));

    let folder = download.folder();
    let ours = folder.join("root/conf-ibkr-agent.yaml");
    assert_eq!(ours.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&ours).unwrap();
    assert!(text.contains(&format!("listenPort: {port}\n")), "{text}");
    assert!(text.contains("::1") && text.contains("212.90.324.10"), "{text}");
    assert_eq!(std::fs::read_to_string(folder.join("root/conf.yaml")).unwrap(), CONF);
    let argv = std::fs::read_to_string(folder.join("argv")).unwrap();
    assert!(argv.contains("root:dist/*:build/lib/runtime/*\n"), "{argv}");
    let conf = ["..", "root", "conf-ibkr-agent.yaml"].join("/");
    assert!(argv.ends_with(&format!("GatewayStart\n--conf\n{conf}\n")), "{argv}");
    let environment = std::fs::read_to_string(folder.join("environment")).unwrap();
    assert!(!environment.contains("canary"), "it gets no variable of ours: {environment}");

    let (code, rest) = server.terminate();
    assert_eq!(code, 0);
    assert!(rest.contains("\"stopped\""), "{rest}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the gateway ended with us");
}

#[test]
fn run_tells_how_to_log_in_when_nobody_is_and_live_when_live_is() {
    let download = Download::simulated("logged-out");
    let mut server = Server::spawn(download.command("run"));
    let session = until(&mut server, "session");
    assert_eq!(session["state"], "login_required");
    let says = session["says"].as_str().unwrap();
    let port = download.port;
    for part in [format!("https://localhost:{port}/"), format!("ssh -L {port}:127.0.0.1:{port}")] {
        assert!(says.contains(&part), "{says}");
    }
    assert_eq!(server.terminate().0, 0);

    let live = Download::simulated("live");
    let mut server = Server::spawn(live.command("run"));
    let session = until(&mut server, "session");
    assert_eq!((&session["state"], &session["mode"]), (&"ready".into(), &"live".into()));
    assert!(session["says"].as_str().unwrap().contains("LIVE"));
    assert_eq!(server.terminate().0, 0);
}

#[test]
fn a_gateway_that_dies_is_started_again_and_its_session_told_anew() {
    let download = Download::simulated("paper");
    let mut server = Server::spawn(download.command("run"));
    let first = until(&mut server, "started")["pid"].as_u64().unwrap();
    until(&mut server, "session");
    signal(u32::try_from(first).unwrap(), "-KILL");
    let restarting = until(&mut server, "restarting");
    assert!(restarting["why"].as_str().unwrap().contains("signal: 9"), "{restarting}");
    let second = until(&mut server, "started")["pid"].as_u64().unwrap();
    assert_ne!(first, second);
    assert_eq!(until(&mut server, "session")["mode"], "paper");
    assert_eq!(server.terminate().0, 0);
}

#[test]
fn a_second_run_on_the_same_port_is_refused_and_the_first_goes_on() {
    let download = Download::simulated("paper");
    let mut server = Server::spawn(download.command("run"));
    let pid = until(&mut server, "started")["pid"].as_u64().unwrap();
    until(&mut server, "listening");
    let ran = download.ran("run");
    assert_eq!((ran.code, state(&ran, "gateway.port").as_str()), (3, "fail"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("process {pid} ")), "{ran:?}");
    assert!(TcpStream::connect(("127.0.0.1", download.port)).is_ok());
    assert_eq!(server.terminate().0, 0);
}

#[test]
fn one_that_fails_at_once_is_an_error_with_its_last_words_and_no_restart() {
    let download = Download::new("echo 'Could not find the main class' >&2; exit 1");
    let ran = download.ran("run");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("Could not find the main class"), "{ran:?}");
    assert_eq!(ran.stdout.matches("\"started\"").count(), 1, "{ran:?}");
}

#[test]
fn a_login_is_never_sent_elsewhere_than_to_the_broker() {
    let download = Download::simulated("paper");
    let conf = download.folder().join("root/conf.yaml");
    write(&conf, &CONF.replace("api.ibkr.com", "ibkr.example"));
    let ran = download.ran("run");
    assert_eq!((ran.code, state(&ran, "gateway.remote").as_str()), (7, "fail"), "{ran:?}");
    assert!(!download.folder().join("argv").exists(), "it wasn't started");
    assert!(!download.folder().join("root/conf-ibkr-agent.yaml").exists());
}
