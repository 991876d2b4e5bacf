//! Section `notices`. Reads the webhook's secret from the environment variable that is named.

use super::{ConfigError, broker, invalid};
use crate::notices::{NoticeSettings, WebhookSecret, WebhookSettings};
use ibkr_agent_protocol::config::{RawConfig, RawWebhook};
use std::path::Path;
use std::time::Duration;

pub(super) fn notices(raw: &RawConfig) -> Result<NoticeSettings, ConfigError> {
    let section = &raw.notices;
    let mut settings = NoticeSettings::default();
    if let Some(command) = &section.command {
        if !command.first().is_some_and(|program| Path::new(program).is_absolute()) {
            return Err(invalid("notices.command", "must begin with a program's absolute path"));
        }
        settings.command = Some(command.clone());
    }
    settings.webhook = section.webhook.as_ref().map(webhook).transpose()?;
    if let Some(seconds) = section.session_lost_after_seconds {
        settings.lost_after = Duration::from_secs(seconds.min(3_600));
    }
    if let Some(minutes) = section.remind_minutes_before_end {
        settings.remind_before = Duration::from_secs(minutes.min(24 * 60) * 60);
    }
    Ok(settings)
}

fn webhook(raw: &RawWebhook) -> Result<WebhookSettings, ConfigError> {
    const URL: &str = "notices.webhook.url";
    const SECRET: &str = "notices.webhook.secret_env";
    let uri: http::Uri = raw.url.parse().map_err(|_| invalid(URL, "isn't a URL"))?;
    let is_loopback = broker::is_loopback(uri.host().unwrap_or_default());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback => {}
        Some(_) | None => return Err(invalid(URL, "must be https, or http on loopback")),
    }
    let text = std::env::var(&raw.secret_env)
        .map_err(|_| invalid(SECRET, "names an environment variable that isn't set"))?;
    let secret = WebhookSecret::parse(&text).map_err(|error| invalid(SECRET, error.to_string()))?;
    Ok(WebhookSettings { url: raw.url.clone(), secret })
}
