//! Two terminals, one world: which configuration a command takes, what a printed command needs to
//! reach the same sidecar from elsewhere, and what never falls back to the simulator unsaid.

use crate::support::{BINARY, Home, Ran, Server, finish};
use crate::terminal::{PASSPHRASE, Terminal};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PREVIEW: &str = "orders preview --account DU1234567 --symbol AAPL --side buy --quantity 1 \
    --limit-price 100 --enable-preview";

/// Terminals of one user: a home, and `ibkr-agent` on the path. Nothing else in common.
struct User {
    home: Home,
}

impl User {
    fn new() -> Self {
        let home = Home::new();
        std::fs::create_dir(home.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(BINARY, home.path().join("bin/ibkr-agent")).unwrap();
        Self { home }
    }

    fn environment(&self) -> [(&'static str, String); 2] {
        let bin = self.home.path().join("bin").display().to_string();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
        [("PATH", path), ("HOME", self.home.path().display().to_string())]
    }

    /// Has a shell run a line as it would be pasted, in a terminal with more in its environment.
    fn paste(&self, line: &str, more: &[(&str, &str)]) -> Ran {
        let mut command = Command::new("setsid");
        command.args(["--wait", "sh", "-c", line]).env_clear().envs(self.environment());
        command.envs(more.iter().copied()).current_dir(self.home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap())
    }

    /// A bare terminal.
    fn bare(&self, line: &str) -> Ran {
        self.paste(&format!("ibkr-agent {line} --json"), &[])
    }

    /// Writes the default configuration file.
    fn default_file(&self, text: &str) -> PathBuf {
        let folder = self.home.path().join(".config/ibkr-agent");
        std::fs::create_dir_all(&folder).unwrap();
        for made in [&folder, &self.home.path().join(".config")] {
            std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let file = folder.join("config.yaml");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: {value}"))
}

/// The command between the backquotes of `how_to_approve`.
fn command_in(asked: &Value) -> String {
    let how = text(asked, "how_to_approve");
    how.split('`').nth(1).unwrap_or_else(|| panic!("no command in {how}")).to_owned()
}

/// A configuration of a simulator whose state lies apart from the default one.
fn apart(user: &User) -> String {
    format!("store:\n  path: {}\n", user.home.path().join("a part").display())
}

/// Asks for an approval in a terminal that is set up somehow; the command that is printed.
fn asked_in(user: &User, flags: &str, more: &[(&str, &str)]) -> String {
    let run = |line: &str| user.paste(&format!("ibkr-agent {flags} {line} --json"), more).json();
    let preview = run(PREVIEW);
    let id = text(&preview, "preview_id");
    let line = format!("approvals create --account DU1234567 --preview-id {id} --ask-only");
    command_in(&run(&line))
}

#[test]
fn how_to_approve_as_printed_approves_from_a_terminal_that_knows_nothing() {
    for way in ["default file", "IBKR_CONFIG", "--config", "--state-dir", "IBKR_AGENT_HOME", "bare"]
    {
        let user = User::new();
        let config = user.home.file("my own.yaml", &apart(&user));
        let state = user.home.path().join("state of mine").display().to_string();
        let (flags, more) = match way {
            "IBKR_CONFIG" => (String::new(), vec![("IBKR_CONFIG", config.as_str())]),
            "--config" => ("--config 'my own.yaml'".to_owned(), Vec::new()),
            "--state-dir" => ("--state-dir 'state of mine'".to_owned(), Vec::new()),
            "IBKR_AGENT_HOME" => (String::new(), vec![("IBKR_AGENT_HOME", state.as_str())]),
            _ => (String::new(), Vec::new()),
        };
        if way == "default file" {
            user.default_file(&apart(&user));
        }
        let printed = asked_in(&user, &flags, &more);
        let ran = user.paste(&format!("{printed} --json"), &[]);
        let approved = ran.json();
        assert_eq!(text(&approved, "status"), "approved", "{way}: {printed}");
        // The answer says whose world it was.
        let world = ["domain", "broker", "mode"].map(|key| text(&approved, key));
        assert_eq!(world, ["simulator", "simulator", "simulated"], "{way}");
    }
}

#[test]
fn how_to_approve_of_the_simulator_works_where_a_configuration_is_set() {
    let user = User::new();
    let printed = asked_in(&user, "", &[]);
    let config = user.home.file("other.yaml", &apart(&user));
    let ran = user.paste(&format!("{printed} --json"), &[("IBKR_CONFIG", &config)]);
    assert_eq!(text(&ran.json(), "status"), "approved", "{printed}");
}

#[test]
fn how_to_approve_at_a_broker_is_shown_with_its_login_and_signed_from_another_terminal() {
    let user = User::new();
    let words = ["simulator", "run", "--bind", "127.0.0.1:0", "--json"];
    let mut broker = Server::start(&user.home, &words);
    let url = broker.line()["base_url"].as_str().unwrap().to_owned();
    user.default_file(&format!(
        "broker:\n  backend: client_portal_gateway\n  base_url: {url}\n  expect: paper\n\
         accounts:\n  allowed: [DU1234567]\n  simulated: true\npaper:\n  enabled: true\n"
    ));
    let environment = user.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let shell = |line: &str| Terminal::shell(user.home.path(), line, &environment);
    let mut init = shell("ibkr-agent operator init --json");
    init.answer("New passphrase: ", PASSPHRASE);
    init.answer("Again: ", PASSPHRASE);
    assert_eq!(init.finish().0, 0);

    let printed = asked_in(&user, "", &[]);
    let mut terminal = shell(&printed);
    terminal.answer("Passphrase of the operator key: ", PASSPHRASE);
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    let world = shown.find("PAPER account at the broker login paper.");
    assert!(
        world.unwrap() < shown.find("Passphrase").unwrap(),
        "said before it is signed: {shown}"
    );
}

/// A broker's installation, made by a first start that reaches nobody.
fn with_a_broker(user: &User) -> String {
    let config = user.home.file(
        "paper.yaml",
        "broker:\n  backend: client_portal_gateway\n  base_url: http://127.0.0.1:9\n\
         accounts:\n  allowed: [DU7000001]\n",
    );
    let ran = user.bare(&format!("--config {config} accounts list"));
    assert_eq!(ran.error(), (3, "BROKER_BACKEND_UNAVAILABLE".to_owned()));
    config
}

#[test]
fn an_operators_verb_without_a_configuration_never_falls_back_to_the_simulator_beside_a_broker() {
    let user = User::new();
    with_a_broker(&user);
    let simulator = user.home.path().join(".local/state/ibkr-agent/simulator");
    for line in [
        "approvals list",
        "approvals approve ap-1",
        "approvals deny ap-1",
        "approvals create --account DU1234567 --preview-id pv-1",
        "questions list",
        "questions answer ib-1 yes",
        "callers admit token:https://i.example|ann|app",
        "state accept",
        "session take-over",
        "kill-switch open",
        "orders submit --account DU1234567 --approval-id ap-1 --enable-paper",
        "orders cancel --account DU1234567 --broker-order-id 1",
        "orders settle ib-1 --finding absent",
        "operator init",
        "sidecar run",
    ] {
        let ran = user.paste(&format!("ibkr-agent {} --json", line.replace('|', "\\|")), &[]);
        assert_eq!(ran.error(), (7, "CONFIG_NOT_NAMED".to_owned()), "{line}");
        for word in ["--config", "IBKR_CONFIG", ".config/ibkr-agent/config.yaml", "--simulator"] {
            assert!(ran.stderr.contains(word), "{word}: {ran:?}");
        }
        assert!(!simulator.exists(), "nothing was touched: {line}");
    }
    // Said plainly, it is what was meant.
    let approvals = user.bare("--simulator approvals list").json();
    assert_eq!(approvals["approvals"].as_array().unwrap().len(), 0);
}

#[test]
fn a_read_of_the_simulator_says_so_first_and_names_the_broker_that_was_not_asked() {
    let user = User::new();
    let alone = user.paste("ibkr-agent accounts list", &[]);
    assert_eq!((alone.code, alone.stderr.trim()), (0, "SIMULATOR: no broker, no money."));
    with_a_broker(&user);
    let beside = user.paste("ibkr-agent accounts list", &[]);
    assert_eq!(beside.code, 0, "{beside:?}");
    assert!(beside.stderr.starts_with("SIMULATOR"), "{beside:?}");
    assert!(beside.stderr.contains("ibkr-agent/broker"), "{beside:?}");
    let chosen = user.paste("ibkr-agent --simulator accounts list", &[]);
    assert_eq!(chosen.stderr.trim(), "SIMULATOR: no broker, no money.");
    let doctor = user.bare("doctor");
    assert!(doctor.stdout.contains("No configuration was named"), "{doctor:?}");
}

#[test]
fn the_flag_the_variable_and_the_default_file_win_in_this_order_and_are_told() {
    let user = User::new();
    let path = |line: &str, more: &[(&str, &str)]| {
        user.paste(&format!("ibkr-agent {line} config path --json"), more).json()
    };
    let nothing = path("", &[]);
    assert_eq!(
        (&nothing["config"], text(&nothing, "found_by")),
        (&Value::Null, "nothing: the simulator")
    );
    let default = user.default_file("logging:\n  filter: warn\n").display().to_string();
    let config = user.home.file("named.yaml", "");
    let variable = [("IBKR_CONFIG", config.as_str())];
    let flagged = user.home.file("flag.yaml", "");
    for (line, more, file, by) in [
        ("", &[][..], &default, "default file"),
        ("", &variable[..], &config, "IBKR_CONFIG"),
        ("--config flag.yaml", &variable[..], &flagged, "--config"),
    ] {
        let told = path(line, more);
        assert_eq!((text(&told, "config"), text(&told, "found_by")), (file.as_str(), by));
        assert_eq!(text(&told, "default_file"), default);
        let checked = user.paste(&format!("ibkr-agent {line} config check --json"), more).json();
        assert_eq!((text(&checked, "config"), text(&checked, "found_by")), (file.as_str(), by));
    }
    let simulator = path("--simulator", &variable);
    assert_eq!((&simulator["config"], text(&simulator, "found_by")), (&Value::Null, "--simulator"));
    let both = user.bare("--simulator --config flag.yaml health");
    assert_eq!(both.error(), (2, "INPUT_INVALID".to_owned()));
}

#[test]
fn a_default_file_that_others_can_write_is_refused_by_every_verb_that_would_take_it() {
    let user = User::new();
    let file = user.default_file("");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o660)).unwrap();
    for line in ["health", "config check", "doctor", "mcp serve", "sidecar run", "approvals list"] {
        let ran = user.bare(line);
        assert_eq!(ran.error(), (7, "CONFIG_INVALID".to_owned()), "{line}");
        assert!(ran.stderr.contains("chmod go-w"), "{line}: {ran:?}");
    }
    // Named, somebody looked at it; and what has a world of its own never asks for it.
    assert_eq!(user.bare(&format!("--config {} health", file.display())).code, 0);
    assert_eq!(user.paste("ibkr-agent docs codes", &[]).code, 0);
    assert_eq!(user.bare("--simulator health").code, 0);
}

#[test]
fn a_simulators_account_in_a_brokers_configuration_is_an_error_by_line() {
    let user = User::new();
    let file = user.home.file(
        "paper.yaml",
        "broker:\n  backend: client_portal_gateway\n  base_url: https://localhost:5000\n\
         # DU1234567 is what the pages say\naccounts:\n  allowed:\n    - DU7000001\n    \
         - DU1234567\n",
    );
    for line in ["config check", "accounts list"] {
        let ran = user.bare(&format!("--config {file} {line}"));
        assert_eq!(ran.error(), (7, "CONFIG_INVALID".to_owned()), "{line}");
        assert!(ran.stderr.contains("line 8: accounts.allowed: DU1234567"), "{ran:?}");
    }
}

#[test]
fn the_beginning_of_an_approvals_id_is_enough_at_every_verb_that_takes_one() {
    let home = Home::new();
    let asked = || {
        let preview = home.json(PREVIEW).json();
        let id = text(&preview, "preview_id").to_owned();
        let line = format!("approvals create --account DU1234567 --preview-id {id} --ask-only");
        text(&home.json(&line).json(), "approval_id").to_owned()
    };
    let (first, second) = (asked(), asked());
    // An id is 24 digits of a digest: its half means it alone.
    let (one, other) = (&first[..15], &second[..15]);
    let shown = home.json(&format!("approvals show {one}")).json();
    assert_eq!(text(&shown, "approval_id"), first);
    let approved = home.json(&format!("approvals approve {one}")).json();
    assert_eq!(
        (text(&approved, "approval_id"), text(&approved, "status")),
        (first.as_str(), "approved")
    );
    let denied = home.json(&format!("approvals deny {other}")).json();
    assert_eq!(
        (text(&denied, "approval_id"), text(&denied, "status")),
        (second.as_str(), "denied")
    );
    let none = home.json("approvals show ap-ffffffffffff");
    assert_eq!(none.error(), (2, "APPROVAL_NOT_FOUND".to_owned()));
}

#[test]
fn an_operators_write_names_its_domain_and_its_logins() {
    let home = Home::new();
    let admitted = home.json("callers admit token:https://i.example|ann|app").json();
    assert_eq!(admitted["domain"], "simulator", "{admitted}");
    assert_eq!(
        admitted["brokers"],
        serde_json::json!([{"broker": "simulator", "mode": "simulated"}])
    );
}
