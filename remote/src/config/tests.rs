//! Both sides of each rule of the configuration, and the printed example.

use super::*;

const NO_ENVIRONMENT: Environment<'static> = &|_| None;

fn text(extra: &str) -> String {
    format!(
        "safety:\n  remote_mcp_enabled: true\nremote_mcp:\n  enabled: true\n  \
         issuer: https://id.example.com\n{extra}"
    )
}

fn parse(extra: &str) -> Result<RemoteConfig, ConfigError> {
    RemoteConfig::parse(&text(extra), NO_ENVIRONMENT)
}

#[test]
fn the_printed_example_is_valid() {
    let example = include_str!("../../../config/remote.example.yaml");
    let config = RemoteConfig::parse(example, NO_ENVIRONMENT).unwrap();
    assert!(config.bind_address.ip().is_loopback());
    assert!(!config.front.allowed_scopes.is_empty());
}

#[test]
fn both_switches_must_be_on() {
    for (safety, section) in [(false, false), (true, false), (false, true)] {
        let text = format!(
            "safety: {{ remote_mcp_enabled: {safety} }}\n\
             remote_mcp: {{ enabled: {section}, issuer: https://id.example.com }}\n"
        );
        let error = RemoteConfig::parse(&text, NO_ENVIRONMENT).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ConfigRemoteMcpForbidden);
    }
    assert!(parse("").is_ok());
}

#[test]
fn a_loopback_endpoint_has_a_default_resource_and_audience() {
    let config = parse("").unwrap();
    assert_eq!(config.front.resource.as_str(), "http://127.0.0.1:8080/mcp");
    assert_eq!(config.issuer.audiences, ["http://127.0.0.1:8080/mcp"]);
}

#[test]
fn an_exposed_endpoint_needs_an_https_resource() {
    let exposed = "  bind_address: 0.0.0.0:8080\n";
    assert!(parse(exposed).is_err());
    let http = format!("{exposed}  resource: http://127.0.0.1:8080/mcp\n");
    assert!(parse(&http).is_err());
    let https = format!("{exposed}  resource: https://mcp.example.com/mcp\n");
    assert!(parse(&https).is_ok());
}

#[test]
fn every_number_has_a_range() {
    for (line, good) in [
        ("clock_skew_seconds: 300", true),
        ("clock_skew_seconds: 301", false),
        ("rate_limit_max_requests: 1", true),
        ("rate_limit_max_requests: 0", false),
        ("rate_limit_window_seconds: 3600", true),
        ("rate_limit_window_seconds: 3601", false),
        ("rate_limit_window_seconds: 0", false),
        ("max_submit_token_age_seconds: 1", true),
        ("max_submit_token_age_seconds: 86400", true),
        ("max_submit_token_age_seconds: 0", false),
        ("max_submit_token_age_seconds: 86401", false),
        ("max_connections: 1", true),
        ("max_connections: 0", false),
        ("max_connections: 65537", false),
        ("bind_address: localhost", false),
    ] {
        assert_eq!(parse(&format!("  {line}\n")).is_ok(), good, "{line}");
    }
    for (hours, good) in [(0, false), (1, true), (720, true), (721, false)] {
        let relay = format!("relay:\n  certificate_hours: {hours}\n");
        assert_eq!(parse(&relay).is_ok(), good, "{hours}");
    }
}

#[test]
fn unknown_and_live_scopes_are_refused() {
    assert!(parse("  allowed_scopes: [\"ibkr:orders:paper:submit\"]\n").is_ok());
    let unknown = parse("  allowed_scopes: [\"ibkr:orders:approve\"]\n").unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::ConfigInvalid);
    let live = parse("  allowed_scopes: [\"ibkr:orders:live:submit\"]\n").unwrap_err();
    assert_eq!(live.code(), ErrorCode::ConfigWriteToolsForbidden);
    let enabled = parse("live_trading:\n  enabled: true\n").unwrap_err();
    assert_eq!(enabled.code(), ErrorCode::ConfigLiveTradingForbidden);
}

#[test]
fn a_named_secret_must_be_there_and_long_enough() {
    let text = text("  token_id_hmac_secret_env: TOKEN_ID_SECRET\n");
    assert!(RemoteConfig::parse(&text, NO_ENVIRONMENT).is_err());
    let short: Environment<'_> = &|_| Some("short".to_owned());
    assert!(RemoteConfig::parse(&text, short).is_err());
    let good: Environment<'_> =
        &|name| (name == "TOKEN_ID_SECRET").then(|| "0123456789abcdef".to_owned());
    assert!(RemoteConfig::parse(&text, good).is_ok());
}

#[test]
fn an_unknown_key_names_its_line() {
    let error = parse("  rate_limit: 5\n").unwrap_err();
    assert!(error.to_string().starts_with("line 6"), "{error}");
    assert!(error.to_string().contains("rate_limit"), "{error}");
}

#[test]
fn sections_of_the_sidecar_are_accepted_in_the_same_file() {
    let sections = "broker: { backend: fake }\nsidecar: { enabled: false }\n\
        paper: { enabled: true }\nrisk: { policies: [{ id: a }] }\n";
    assert!(parse(sections).is_ok());
}

#[test]
fn another_address_on_the_command_line_is_held_to_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("remote.yaml");
    std::fs::write(&file, text("")).unwrap();
    let bound = |bind: &str| RemoteConfig::read_bound(&file, bind.parse().unwrap(), NO_ENVIRONMENT);
    assert_eq!(bound("127.0.0.1:9").unwrap().front.resource.as_str(), "http://127.0.0.1:9/mcp");
    assert!(bound("0.0.0.0:9").is_err());
    let absent = RemoteConfig::read(&folder.path().join("none"), NO_ENVIRONMENT).unwrap_err();
    assert_eq!(absent.code(), ErrorCode::ConfigInvalid);
}
