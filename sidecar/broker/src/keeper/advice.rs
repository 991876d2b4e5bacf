//! What a human must do now, as exact as we know. Pure: the surroundings come in as a value.

use ibkr_agent_domain::{SessionHealth, SessionState};

/// Longest name that is taken from the surroundings.
const MAX_NAME: usize = 100;

/// Where the reader sits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Viewer {
    /// Whether this host has no browser of its own.
    pub is_headless: bool,
    /// Who is logged in to this host.
    pub user: Option<String>,
    /// How this host is reached from outside.
    pub host: Option<String>,
}

impl Viewer {
    /// Told by the environment: `SSH_CONNECTION`, `DISPLAY`, `WAYLAND_DISPLAY`, `USER`, `HOSTNAME`.
    /// Names that can't stand on a command line are left out.
    pub fn from_environment(look_up: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| look_up(name).filter(|value| !value.is_empty());
        let connection = set("SSH_CONNECTION");
        // Client address and port, then the address and port it reached us at.
        let reached = connection
            .as_deref()
            .and_then(|text| text.split_ascii_whitespace().nth(2))
            .map(str::to_owned);
        let has_display = set("DISPLAY").is_some()
            || set("WAYLAND_DISPLAY").is_some()
            || !cfg!(target_os = "linux");
        let plain = |name: Option<String>| name.filter(|name| is_plain(name));
        Self {
            is_headless: connection.is_some() || !has_display,
            user: plain(set("USER")),
            host: plain(reached).or_else(|| plain(set("HOSTNAME"))),
        }
    }
}

fn is_plain(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    name.len() <= MAX_NAME && !name.starts_with('-') && name.bytes().all(is_good)
}

/// What a human must do now, step by step; nothing while the session works.
#[must_use]
pub fn instructions(health: &SessionHealth, base_url: &str, viewer: &Viewer) -> Vec<String> {
    match health.state {
        SessionState::Ready => Vec::new(),
        SessionState::Unreachable => vec![
            "Start the Client Portal Gateway: ibkr-agent gateway run --dir PATH (the folder that \
             was unpacked from IBKR's download)."
                .to_owned(),
            "If it runs already, see what is wrong: ibkr-agent doctor.".to_owned(),
        ],
        SessionState::LoginRequired => login(base_url, viewer),
        SessionState::BrokerageDown => {
            let first = "Nothing yet: the brokerage session is asked for every 15 seconds. If it \
                         stays down for minutes, log in again:";
            let mut steps = vec![first.to_owned()];
            steps.extend(login(base_url, viewer));
            steps
        }
        SessionState::Competing => vec![
            "Log out of TWS, IBKR Mobile and Client Portal wherever this username is logged in; \
             the session is taken up again by itself."
                .to_owned(),
            "Better: give the gateway a username of its own (Client Portal, Settings, Users & \
             Access Rights). It is never taken from another platform by itself."
                .to_owned(),
            "Or take it from there, as the operator: ibkr-agent session take-over.".to_owned(),
        ],
    }
}

fn login(base_url: &str, viewer: &Viewer) -> Vec<String> {
    let address = reqwest::Url::parse(base_url).ok();
    let address = address.as_ref();
    let scheme = address.map_or("https", reqwest::Url::scheme);
    let port = address.and_then(reqwest::Url::port_or_known_default).unwrap_or(5000);
    let gateway =
        address.and_then(reqwest::Url::host_str).map(|host| host.trim_matches(['[', ']']));
    let is_here = gateway.is_none_or(|host| {
        host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    let page = format!("{scheme}://localhost:{port}");
    let mut steps = Vec::new();
    if viewer.is_headless || !is_here {
        let user = viewer.user.as_deref().unwrap_or("USER");
        let other = gateway.filter(|_| !is_here);
        let host = other.or(viewer.host.as_deref()).unwrap_or("HOST");
        steps.push(format!(
            "On the computer with your browser run: ssh -L {port}:127.0.0.1:{port} {user}@{host}"
        ));
        steps.push(format!("Open {page} in that browser. Its certificate warning is expected."));
    } else {
        steps.push(format!(
            "Open {page} in a browser on this host. Its certificate warning is expected."
        ));
    }
    steps.push(
        "Log in with the username of the account that is configured (a paper account has one of \
         its own) and confirm the second factor; wait for \"Client login succeeds\"."
            .to_owned(),
    );
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::Timestamp;

    fn health(state: SessionState) -> SessionHealth {
        SessionHealth {
            state,
            since: Timestamp::from_millis(0),
            why: "",
            ends_at: None,
            last_tickle: None,
            is_paper: None,
            clock_skew_ms: None,
        }
    }

    fn viewer(pairs: &[(&str, &str)]) -> Viewer {
        Viewer::from_environment(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_headless_host_gets_the_exact_tunnel() {
        let connection = "203.0.113.7 50022 198.51.100.4 22";
        let viewer = viewer(&[("USER", "trader"), ("SSH_CONNECTION", connection)]);
        let steps =
            instructions(&health(SessionState::LoginRequired), "https://localhost:5001", &viewer);
        assert!(steps[0].ends_with("ssh -L 5001:127.0.0.1:5001 trader@198.51.100.4"), "{steps:?}");
        assert!(steps[1].contains("https://localhost:5001"));
    }

    #[test]
    fn names_that_could_be_read_as_commands_are_left_out() {
        let viewer = viewer(&[("USER", "x; rm -rf /"), ("HOSTNAME", "-oProxyCommand=x")]);
        let steps = instructions(
            &health(SessionState::LoginRequired),
            "https://127.0.0.1:5000/v1/api",
            &viewer,
        );
        let text = steps.join("\n");
        assert!(!text.contains("rm -rf") && !text.contains("ProxyCommand"), "{text}");
        if viewer.is_headless {
            assert!(text.contains("ssh -L 5000:127.0.0.1:5000 USER@HOST"), "{text}");
        }
    }

    #[test]
    fn a_desktop_opens_the_page_and_a_distant_gateway_needs_the_tunnel() {
        let desktop = Viewer { is_headless: false, ..Viewer::default() };
        let down = health(SessionState::LoginRequired);
        let steps = instructions(&down, "https://localhost:5000", &desktop).join("\n");
        assert!(steps.contains("https://localhost:5000") && !steps.contains("ssh"), "{steps}");
        let distant = instructions(&down, "https://gateway.example:5000", &desktop).join("\n");
        assert!(distant.contains("ssh -L 5000:127.0.0.1:5000 USER@gateway.example"), "{distant}");
    }

    #[test]
    fn every_bad_state_says_what_to_do_and_a_good_one_nothing() {
        for state in [
            SessionState::Unreachable,
            SessionState::LoginRequired,
            SessionState::BrokerageDown,
            SessionState::Competing,
        ] {
            let steps = instructions(&health(state), "https://localhost:5000", &Viewer::default());
            assert!(!steps.is_empty(), "{state:?}");
        }
        let ready = health(SessionState::Ready);
        assert!(instructions(&ready, "https://localhost:5000", &Viewer::default()).is_empty());
    }
}
