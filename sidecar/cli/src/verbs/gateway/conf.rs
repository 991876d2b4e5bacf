//! The gateway's configuration: what the user's file says, and the one that we start it with.
//!
//! The user's file is read and never written. Ours stands beside it, is made anew at every start
//! and differs in five keys: the port, the addresses that are let in (this machine's loopback), the
//! web origins (the login page's own), credentials for other origins (none).

use crate::failure::Failure;
use crate::verbs::doctor::report::Finding;
use ibkr_agent_domain::ErrorCode;
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The user's file in the gateway's folder.
const THEIRS: &str = "root/conf.yaml";
/// Ours, in the same folder since the gateway looks nowhere else.
pub(super) const OURS: &str = "root/conf-ibkr-agent.yaml";
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// The port when the file names none.
const DEFAULT_PORT: u16 = 5000;
/// Where the gateway sends everything, a login included, when the file says nothing.
const DEFAULT_REMOTE: &str = "https://api.ibkr.com";
/// IBKR's own domains.
const DOMAINS: [&str; 10] = [
    "ibkr.com",
    "ibkr.com.cn",
    "interactivebrokers.com",
    "interactivebrokers.ca",
    "interactivebrokers.co.uk",
    "interactivebrokers.com.au",
    "interactivebrokers.com.hk",
    "interactivebrokers.co.in",
    "interactivebrokers.co.jp",
    "interactivebrokers.ie",
];

/// The user's configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conf {
    keys: Map<String, Value>,
    /// `listenPort`.
    pub(super) port: u16,
    /// `listenSsl`.
    pub(super) is_tls: bool,
}

/// Reads the user's file.
pub(super) fn read(root: &Path) -> Result<Conf, Finding> {
    let wrong = |why: String| {
        Finding::fail("gateway.conf", ErrorCode::ConfigInvalid, format!("{THEIRS} {why}."))
            .next("Restore the file from IBKR's download.")
    };
    let file =
        File::open(root.join(THEIRS)).map_err(|error| wrong(format!("can't be read: {error}")))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| wrong(format!("can't be read: {error}")))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(wrong(format!("is longer than {MAX_BYTES} bytes")));
    }
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Conf, String> {
    let keys: Map<String, Value> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|at| at.line()).filter(|line| *line > 0);
        match line {
            Some(line) => format!("isn't the YAML that is expected, at line {line}"),
            None => "isn't the YAML that is expected".to_owned(),
        }
    })?;
    let port = match keys.get("listenPort") {
        None => DEFAULT_PORT,
        Some(value) => {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let port = number.and_then(|number| u16::try_from(number).ok());
            port.filter(|port| *port > 0).ok_or("has a listenPort that is no port")?
        }
    };
    let is_tls = match keys.get("listenSsl") {
        None => true,
        Some(value) => switch(value).ok_or("has a listenSsl that is neither true nor false")?,
    };
    Ok(Conf { keys, port, is_tls })
}

/// A switch; the gateway's YAML 1.1 knows more words for it than ours.
fn switch(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(is_on) => Some(*is_on),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Conf {
    fn remote(&self) -> &str {
        match self.keys.get("proxyRemoteHost") {
            None => DEFAULT_REMOTE,
            Some(value) => value.as_str().unwrap_or_default(),
        }
    }

    fn list(&self, name: &str) -> Vec<&str> {
        let list = self.keys.get("ips").and_then(|ips| ips.get(name)).and_then(Value::as_array);
        list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }

    /// What should be known about the user's file.
    pub(super) fn findings(&self) -> Vec<Finding> {
        vec![
            Finding::ok(
                "gateway.conf",
                format!("{THEIRS} is read: port {}, {}.", self.port, self.scheme()),
            ),
            self.remote_finding(),
            self.tls_finding(),
            self.addresses_finding(),
            self.origins_finding(),
        ]
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// Where the login goes.
    fn remote_finding(&self) -> Finding {
        const CHECK: &str = "gateway.remote";
        let remote = self.remote();
        let url = reqwest::Url::parse(remote).ok();
        let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
        let is_tls = url.as_ref().is_some_and(|url| url.scheme() == "https");
        if is_theirs(host) && is_tls {
            return Finding::ok(CHECK, format!("Requests and logins go to {remote}."));
        }
        if is_loopback(host) {
            let says = format!("Requests and logins go to {remote}, a stand-in on this machine.");
            return Finding::warn(CHECK, says).next("Never type a real login there.");
        }
        let says = format!(
            "Requests and logins would go to {remote:?}, which isn't IBKR's, or not \
            over TLS."
        );
        Finding::fail(CHECK, ErrorCode::ConfigInvalid, says)
            .next(format!("Put proxyRemoteHost: \"{DEFAULT_REMOTE}\" back into {THEIRS}."))
    }

    fn tls_finding(&self) -> Finding {
        const CHECK: &str = "gateway.tls";
        if self.is_tls {
            return Finding::ok(CHECK, "It serves https, with the certificate that IBKR ships.");
        }
        Finding::warn(CHECK, "It serves plain http: a login passes through this machine in clear.")
            .next(format!("Put listenSsl: true into {THEIRS}."))
    }

    fn addresses_finding(&self) -> Finding {
        const CHECK: &str = "gateway.addresses";
        let allowed = self.list("allow");
        let others: Vec<&str> =
            allowed.iter().filter(|entry| !is_loopback(entry)).copied().collect();
        let next = format!(
            "ibkr-agent gateway run starts it with a list of its own ({OURS}) that \
            has loopback only. bin/run.sh would use yours: put only 127.0.0.1 and ::1 there."
        );
        if allowed.is_empty() {
            let says = format!(
                "{THEIRS} lists no ips.allow: any machine that reaches this one \
                could use the login."
            );
            return Finding::warn(CHECK, says).next(next);
        }
        if others.is_empty() {
            return Finding::ok(CHECK, "Only loopback addresses are let in.");
        }
        let says = format!("{THEIRS} lets in {}, besides loopback.", others.join(", "));
        Finding::warn(CHECK, says).next(next)
    }

    fn origins_finding(&self) -> Finding {
        const CHECK: &str = "gateway.origins";
        let cors = self.keys.get("cors");
        let allowed = cors.and_then(|cors| cors.get("origin.allowed")).and_then(Value::as_str);
        let next =
            format!("ibkr-agent gateway run lets in the login page's own origin only ({OURS}).");
        match allowed {
            Some("*") => Finding::warn(
                CHECK,
                format!("{THEIRS} lets every web page in a browser here use the login."),
            )
            .next(next),
            Some(pattern) => Finding::ok(CHECK, format!("Web origins are limited to {pattern}.")),
            None => Finding::ok(CHECK, "No web origin but its own is let in."),
        }
    }

    /// The text of the configuration that we start it with.
    pub(super) fn ours(&self, port: u16) -> Result<String, Failure> {
        let mut keys = self.keys.clone();
        keys.insert("listenPort".to_owned(), port.into());
        keys.insert("listenSsl".to_owned(), self.is_tls.into());
        for name in ["proxyRemoteSsl", "ccp"] {
            if let Some(is_on) = keys.get(name).and_then(switch) {
                keys.insert(name.to_owned(), is_on.into());
            }
        }
        // What the user refuses stays refused.
        let refused = self.list("deny");
        keys.insert("ips".to_owned(), json!({ "allow": ["127.0.0.1", "::1"], "deny": refused }));
        // The gateway reads this as a regular expression over the whole origin.
        let origin = format!(r"{}://(localhost|127\.0\.0\.1):{port}", self.scheme());
        let cors = json!({ "origin.allowed": origin, "allowCredentials": false });
        keys.insert("cors".to_owned(), cors);
        // Quoted: the gateway reads YAML 1.1, where more plain words mean something.
        let options = serde_saphyr::ser_options! { quote_all: true };
        let text = serde_saphyr::to_string_with_options(&keys, options).map_err(|error| {
            Failure::because(ErrorCode::ConfigInvalid, "the gateway's configuration", &error)
        })?;
        let ours = parse(&text).ok().filter(|read| read.keys == keys && read.port == port);
        ours.map(|_| text).ok_or_else(|| {
            let message = format!("{THEIRS} holds something that can't be written back as it was");
            Failure::new(ErrorCode::ConfigInvalid, message)
                .next_step("Restore the file from IBKR's download.")
        })
    }
}

/// Writes our configuration, readable by its owner only, in one step.
pub(super) fn write(root: &Path, text: &str) -> Result<(), Failure> {
    let path = root.join(OURS);
    let draft = root.join(format!("{OURS}.{}", std::process::id()));
    let written = write_new(&draft, text).and_then(|()| std::fs::rename(&draft, &path));
    written.map_err(|error| {
        // Nothing is there in the usual case.
        drop(std::fs::remove_file(&draft));
        let what = format!("{} can't be written", path.display());
        Failure::because(ErrorCode::ConfigInvalid, &what, &error)
            .next_step("Make the gateway's folder writable for the user that runs it.")
    })
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(b"# Made anew by ibkr-agent gateway run; changes here are lost.\n")?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether a host is one of IBKR's.
fn is_theirs(host: &str) -> bool {
    let is_under = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    DOMAINS.iter().any(|domain| host == *domain || is_under(domain))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;
    use std::os::unix::fs::PermissionsExt as _;

    const SHIPPED: &str = "ip2loc: \"US\"\nproxyRemoteSsl: true\n\
        proxyRemoteHost: \"https://api.ibkr.com\"\nlistenPort: 5000\nlistenSsl: true\n\
        ccp: no\nauthDelay: 3000\nportalBaseURL: \"\"\nserverOptions:\n  workerPoolSize: 20\n\
        cors:\n  origin.allowed: \"*\"\n  allowCredentials: true\n\
        webApps:\n  - name: \"demo\"\n    index: \"index.html\"\n\
        ips:\n  allow:\n    - 127.0.0.1\n    - 192.168.*\n  deny:\n    - 212.90.324.10\n";

    fn verdict(text: &str, check: &str) -> Verdict {
        let findings = parse(text).unwrap().findings();
        findings.iter().find(|finding| finding.check == check).unwrap().verdict
    }

    #[test]
    fn ours_differs_in_port_addresses_and_origins_only() {
        let theirs = parse(SHIPPED).unwrap();
        assert_eq!((theirs.port, theirs.is_tls), (5000, true));
        let text = theirs.ours(25065).unwrap();
        let ours: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(ours["listenPort"], 25065);
        assert_eq!(ours["ips"]["allow"], json!(["127.0.0.1", "::1"]));
        assert_eq!(ours["ips"]["deny"], json!(["212.90.324.10"]));
        assert_eq!(ours["cors"]["allowCredentials"], false);
        let origin = ours["cors"]["origin.allowed"].as_str().unwrap();
        assert_eq!(origin, r"https://(localhost|127\.0\.0\.1):25065");
        assert_eq!(ours["ccp"], false, "a YAML 1.1 switch stays a switch");
        for (key, value) in &theirs.keys {
            if !["listenPort", "ips", "cors", "ccp"].contains(&key.as_str()) {
                assert_eq!(&ours[key], value, "{key}");
            }
        }
    }

    #[test]
    fn words_that_mean_more_in_yaml_1_1_are_quoted() {
        let text = "a: \"12:30:45\"\nb: \"on\"\nc: \"0o17\"\nd: \"1_000\"\ne: \"~\"\nf: \"=\"\n\
            g: \"two\\nlines\"\n";
        let ours = parse(text).unwrap().ours(5000).unwrap();
        for word in ["12:30:45", "on", "0o17", "1_000", "~", "="] {
            let is_quoted =
                ours.contains(&format!("'{word}'")) || ours.contains(&format!("\"{word}\""));
            assert!(is_quoted, "{word}: {ours}");
        }
        assert!(ours.contains("listenPort: 5000"), "a number stays a number: {ours}");
    }

    #[test]
    fn a_login_may_go_to_the_broker_only() {
        let with =
            |host: &str| verdict(&format!("proxyRemoteHost: \"{host}\"\n"), "gateway.remote");
        for host in ["https://api.ibkr.com", "https://www.interactivebrokers.co.uk"] {
            assert_eq!(with(host), Verdict::Ok, "{host}");
        }
        for host in ["http://127.0.0.1:9", "https://localhost:5055", "http://[::1]:5055"] {
            assert_eq!(with(host), Verdict::Warn, "{host}");
        }
        for host in [
            "http://api.ibkr.com",
            "https://api.ibkr.com.example",
            "https://notibkr.com",
            "https://localhost.example",
            "",
        ] {
            assert_eq!(with(host), Verdict::Fail(ErrorCode::ConfigInvalid), "{host}");
        }
    }

    #[test]
    fn an_open_door_in_the_users_file_is_told() {
        assert_eq!(verdict(SHIPPED, "gateway.addresses"), Verdict::Warn);
        assert_eq!(verdict("a: 1\n", "gateway.addresses"), Verdict::Warn);
        let narrow = "ips:\n  allow: [127.0.0.1, \"::1\"]\n";
        assert_eq!(verdict(narrow, "gateway.addresses"), Verdict::Ok);
        assert_eq!(verdict(SHIPPED, "gateway.origins"), Verdict::Warn);
        assert_eq!(verdict("listenSsl: false\n", "gateway.tls"), Verdict::Warn);
        for wrong in ["listenPort: 0\n", "listenPort: many\n", "listenSsl: 3\n", "- 1\n", "a: [\n"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn our_file_is_private_and_replaces_what_was_there_without_following_it() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("root")).unwrap();
        let kept = base.path().join("kept");
        std::fs::write(&kept, "mine").unwrap();
        let path = base.path().join(OURS);
        std::os::unix::fs::symlink(&kept, &path).unwrap();
        write(base.path(), "listenPort: 5000\n").unwrap();
        write(base.path(), "listenPort: 5001\n").unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "mine");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("listenPort: 5001\n"));
        assert_eq!(path.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(base.path().join("root")).unwrap().count(), 1);
        let nowhere = base.path().join("absent");
        assert_eq!(write(&nowhere, "a: 1\n").unwrap_err().exit_code(), 7);
    }
}
