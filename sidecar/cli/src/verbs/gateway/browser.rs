//! How a human comes to the gateway's login page: a browser on this desktop, or a tunnel to here.
//!
//! The browser is started by its opener without a shell, and only when asked. What the environment
//! says about user and host goes into a line that somebody copies into a terminal, so only plain
//! names get there.

use crate::home::Environment;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Time for the opener to hand the page to a browser.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a login happens, and how to come there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginPage {
    /// The page's address on this machine.
    pub(super) url: String,
    /// The tunnel for somebody whose browser is elsewhere.
    pub(super) tunnel: String,
    /// Whether this machine has a desktop to open a browser on.
    pub(super) has_desktop: bool,
}

impl LoginPage {
    /// The page of a gateway on a port.
    pub(super) fn new(is_tls: bool, port: u16, environment: Environment<'_>) -> Self {
        let scheme = if is_tls { "https" } else { "http" };
        let user = environment("USER").or_else(|| environment("LOGNAME"));
        let user = user.filter(|user| is_plain(user)).unwrap_or_else(|| "USER".to_owned());
        // The address that the user's own connection came to; else the machine's name.
        let connection = environment("SSH_CONNECTION");
        let came_to = connection.as_deref().and_then(|text| text.split_whitespace().nth(2));
        let host = came_to
            .map(str::to_owned)
            .or_else(|| rustix::system::uname().nodename().to_str().ok().map(str::to_owned));
        let host = host.filter(|host| is_plain(host)).unwrap_or_else(|| "HOST".to_owned());
        let is_remote = connection.is_some();
        let has_display = cfg!(target_os = "macos")
            || environment("DISPLAY").is_some()
            || environment("WAYLAND_DISPLAY").is_some();
        Self {
            url: format!("{scheme}://localhost:{port}/"),
            tunnel: format!("ssh -L {port}:127.0.0.1:{port} {user}@{host}"),
            has_desktop: has_display && !is_remote,
        }
    }

    /// What a human does now.
    pub(super) fn instructions(&self) -> String {
        let url = &self.url;
        let elsewhere = format!(
            "From another computer, keep this running there: {}\n\
            and open the same address in its browser.",
            self.tunnel
        );
        format!(
            "Log in at {url} with the IBKR username of this broker. The browser warns about the \
             certificate: it is the gateway's own, for this machine only.\n{elsewhere}"
        )
    }

    /// Opens the page on this desktop. Says why it couldn't.
    pub(super) async fn open(&self) -> Result<(), String> {
        if !self.has_desktop {
            return Err("there is no desktop here to open a browser on".to_owned());
        }
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let asked = Command::new(opener)
            .arg(&self.url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{opener} failed ({status})")),
            Ok(Err(error)) => Err(format!("{opener} can't be started: {error}")),
            // Some openers stay as long as the browser does.
            Err(_) => Ok(()),
        }
    }
}

/// A user's or a host's name, or an address: nothing that a shell would take for more.
fn is_plain(text: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "._-:".contains(letter);
    !text.is_empty() && text.len() <= 255 && !text.starts_with('-') && text.chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(variables: &[(&str, &str)]) -> LoginPage {
        LoginPage::new(true, 5001, &|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_tunnel_names_the_user_and_the_address_that_was_connected_to() {
        let connected = page(&[("USER", "ann"), ("SSH_CONNECTION", "10.0.0.9 5 10.0.0.1 22")]);
        assert_eq!(connected.tunnel, "ssh -L 5001:127.0.0.1:5001 ann@10.0.0.1");
        assert_eq!(connected.url, "https://localhost:5001/");
        assert!(connected.instructions().contains(&connected.tunnel));
        assert!(page(&[("LOGNAME", "bob")]).tunnel.contains(" bob@"));
    }

    #[test]
    fn nothing_that_a_shell_would_run_gets_into_the_line() {
        for evil in
            ["a;rm -rf x", "$(id)", "`id`", "a b", "-oProxyCommand=x", "a\u{202e}b", "\u{1b}[2J"]
        {
            let page = page(&[("USER", evil), ("SSH_CONNECTION", &format!("a b {evil} d"))]);
            assert!(page.tunnel.starts_with("ssh -L 5001:127.0.0.1:5001 USER@"), "{}", page.tunnel);
            assert!(page.tunnel.chars().all(|letter| letter.is_ascii_graphic() || letter == ' '));
        }
    }

    #[cfg(not(target_os = "macos"))]
    #[tokio::test]
    async fn no_browser_is_opened_without_a_desktop_or_over_a_connection() {
        assert!(!page(&[]).has_desktop);
        assert!(page(&[("DISPLAY", ":0")]).has_desktop);
        assert!(page(&[("WAYLAND_DISPLAY", "wayland-0")]).has_desktop);
        assert!(!page(&[("DISPLAY", ":0"), ("SSH_CONNECTION", "a b c d")]).has_desktop);
        assert!(page(&[]).open().await.unwrap_err().contains("no desktop"));
    }
}
