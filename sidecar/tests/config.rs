//! From a configuration file to a sidecar: what is on by default, what is refused, and why.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ibkr_agent_broker::{Region, TlsPolicy};
use ibkr_agent_domain::{Currency, ErrorCode, Mode, Scope, ScopeSet, Tier};
use ibkr_agent_gateway::config::{Backing, ConfigError, Settings};
use ibkr_agent_gateway::operator::OperatorDomain;
use ibkr_agent_protocol::catalogue::Listing;
use ibkr_agent_protocol::config::load;
use rust_decimal::Decimal;
use std::path::PathBuf;
use std::time::Duration;

const BROKER: &str = "broker:\n  backend: client_portal_gateway\n  \
    base_url: https://localhost:5000\naccounts:\n  allowed: [DU7000001]\n";

fn read(text: &str) -> Result<Settings, ConfigError> {
    Settings::try_from_raw(&load(text).unwrap())
}

fn with_broker(more: &str) -> Result<Settings, ConfigError> {
    read(&format!("{BROKER}{more}"))
}

#[test]
fn an_empty_file_is_the_simulator_with_everything_but_live() {
    let settings = read("").unwrap();
    assert_eq!(settings.backing, Backing::Simulator);
    assert_eq!(settings.domain(), OperatorDomain::Simulator);
    assert_eq!(settings.local_scopes, ScopeSet::up_to(Tier::Paper));
    assert!(settings.preview_enabled && settings.paper_enabled && settings.relay.is_none());
    assert_eq!(settings.limits.modes, [Mode::Simulated].into());
    let config = settings.sidecar(PathBuf::from("/s"), "http://127.0.0.1:1/v1/api");
    assert_eq!(config.brokers[0].expect, Mode::Simulated);
    assert!(config.issuers.is_empty() && !config.enabled.remote);
}

#[test]
fn a_real_broker_only_reads_until_the_file_says_more() {
    let settings = with_broker("").unwrap();
    assert_eq!(settings.domain(), OperatorDomain::Broker);
    assert_eq!(settings.local_scopes, ScopeSet::up_to(Tier::Read));
    assert!(settings.limits.modes.is_empty(), "no mode may trade");
    let config = settings.sidecar(PathBuf::from("/s"), "");
    assert_eq!(config.brokers.len(), 1);
    assert_eq!(config.brokers[0].expect, Mode::Paper);
    assert_eq!(config.domain, OperatorDomain::Broker);
    assert_eq!(config.limits.accounts.len(), 1);

    let preview = with_broker("preview:\n  enabled: true\n").unwrap();
    assert_eq!(preview.local_scopes, ScopeSet::up_to(Tier::Preview));
    assert!(preview.limits.modes.is_empty());

    let paper = with_broker("paper:\n  enabled: true\n").unwrap();
    assert_eq!(paper.local_scopes, ScopeSet::up_to(Tier::Paper));
    assert_eq!(paper.limits.modes, [Mode::Paper].into());
    let simulated = read("").unwrap().limits;
    assert!(paper.limits.max_notional.amount < simulated.max_notional.amount);
}

#[test]
fn both_shapes_of_a_broker_are_read() {
    let named = "brokers:\n  paper:\n    base_url: https://localhost:5000\n    expect: paper\n    \
        tls:\n      pin_sha256: \
        \"0101010101010101010101010101010101010101010101010101010101010101\"\n  \
        live:\n    base_url: https://localhost:5001\n    expect: live\n\
        accounts:\n  allowed: [DU7000001, U7000001]\n";
    let Backing::Brokers(list) = read(named).unwrap().backing else { panic!("brokers") };
    let names: Vec<&str> = list.iter().map(|broker| broker.name.as_str()).collect();
    assert_eq!(names, ["live", "paper"]);
    assert_eq!(list[0].expect, Mode::Live);
    assert_eq!(list[1].tls, TlsPolicy::PinSha256([1; 32]));
    assert!(with_broker("brokers:\n  x:\n    base_url: https://localhost:1\n").is_err());
    let old = "broker:\n  backend: client_portal_gateway\n  \
        allow_insecure_tls_for_localhost: true\nsidecar:\n  \
        local_client_portal_base_url: https://127.0.0.1:5000\naccounts:\n  allowed: [DU1]\n";
    let Backing::Brokers(list) = read(old).unwrap().backing else { panic!("brokers") };
    assert_eq!(list[0].tls, TlsPolicy::AcceptInvalidOnLoopback);
}

#[test]
fn an_id_that_cannot_be_meant_is_refused_and_says_what_to_do() {
    let listed =
        |id: &str, more: &str| read(&BROKER.replace("[DU7000001]", &format!("[{id}]{more}")));
    for id in ["DU1234567", "DU7654321", "U1234567"] {
        let error = listed(id, "").unwrap_err();
        assert_eq!((error.code(), error.value()), (ErrorCode::ConfigInvalid, Some(id)));
        assert!(error.to_string().contains("account of the simulator"), "{error}");
        assert!(error.next_step().unwrap().contains("your own account's id"), "{error}");
        // A rehearsal says that the simulator is meant, and then nothing else can be.
        assert!(listed(id, "\n  simulated: true").is_ok(), "{id}");
    }
    let placeholder = listed("DU0000000", "").unwrap_err();
    assert!(placeholder.to_string().contains("only stands for"), "{placeholder}");
    assert!(read("accounts:\n  allowed: [DU0000000]\n").is_err(), "not on the simulator either");
    let real = listed("DU7000001", "\n  simulated: true").unwrap_err();
    assert!(real.next_step().unwrap().contains("accounts.simulated"), "{real}");
    let far = BROKER.replace("localhost", "gateway.example");
    let far = far.replace("[DU7000001]", "[DU1234567]\n  simulated: true");
    assert!(read(&far).unwrap_err().to_string().contains("loopback"));
    assert!(read("accounts:\n  allowed: [DU1234567]\n").is_ok(), "it is the simulator's own");
}

#[test]
fn each_mistake_has_its_code() {
    let cases: &[(&str, ErrorCode)] = &[
        ("live_trading:\n  enabled: true\n", ErrorCode::ConfigLiveTradingForbidden),
        ("safety:\n  live_trading_enabled: true\n", ErrorCode::ConfigLiveTradingForbidden),
        ("safety:\n  sidecar_enabled: true\n", ErrorCode::ConfigSidecarForbidden),
        ("sidecar:\n  enabled: true\n", ErrorCode::ConfigSidecarForbidden),
        ("remote_mcp:\n  enabled: true\n", ErrorCode::ConfigRemoteMcpForbidden),
        ("audit:\n  live_write_retention_days: 2554\n", ErrorCode::ConfigInvalid),
        ("audit:\n  immutable_live_events: false\n", ErrorCode::ConfigInvalid),
        ("accounts:\n  aliases: { main: DU1 }\n", ErrorCode::ConfigInvalid),
        ("auth:\n  enabled_scopes: [nonsense]\n", ErrorCode::ConfigInvalid),
        (
            "auth:\n  enabled_scopes: [\"ibkr:orders:live:submit\"]\n",
            ErrorCode::ConfigWriteToolsForbidden,
        ),
        ("preview:\n  ttl_seconds: 0\n", ErrorCode::ConfigInvalid),
        ("approvals:\n  ttl_seconds: 43201\n", ErrorCode::ConfigInvalid),
        ("approvals:\n  max_open: 0\n", ErrorCode::ConfigInvalid),
        ("approvals:\n  question_timeout_seconds: 4\n", ErrorCode::ConfigInvalid),
        ("approvals:\n  question_timeout_seconds: 601\n", ErrorCode::ConfigInvalid),
        ("risk:\n  policies:\n  - id: x\n    max_quantity: 0\n", ErrorCode::ConfigInvalid),
        ("risk:\n  policies:\n  - id: x\n    currency: BASE\n", ErrorCode::ConfigInvalid),
        ("risk:\n  policies:\n  - id: x\n    asset_classes: [gold]\n", ErrorCode::ConfigInvalid),
        ("risk:\n  policies:\n  - id: a\n  - id: b\n", ErrorCode::ConfigInvalid),
        ("risk:\n  policies:\n  - id: paper\n  - id: paper\n", ErrorCode::ConfigInvalid),
        ("broker:\n  backend: client_portal_gateway\n", ErrorCode::ConfigMissingBrokerBaseUrl),
        ("brokers:\n  paper:\n    expect: paper\n", ErrorCode::ConfigMissingBrokerBaseUrl),
        ("remote_mcp:\n  issuer: https://issuer.example\n", ErrorCode::ConfigInvalid),
    ];
    for (text, code) in cases {
        let error = read(text).unwrap_err();
        assert_eq!(error.code(), *code, "{text}: {error}");
    }
}

#[test]
fn addresses_and_certificates_of_a_real_broker_are_checked() {
    let broker = |address: &str, more: &str| {
        read(&format!(
            "broker:\n  backend: client_portal_gateway\n  base_url: {address}\n{more}\
             accounts:\n  allowed: [DU1]\n"
        ))
    };
    let any = "  allow_insecure_tls_for_localhost: true\n";
    for loopback in ["https://localhost:5000", "https://127.0.0.1:5000", "https://[::1]:5000"] {
        assert!(broker(loopback, any).is_ok(), "{loopback}");
    }
    for other in ["https://10.0.0.1:5000", "https://localhost.example.com", "https://gateway"] {
        let error = broker(other, any).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ConfigTlsBypassNonLocalhost, "{other}");
        assert!(broker(other, "").is_ok(), "{other} with a checked certificate");
    }
    assert!(broker("http://127.0.0.1:5000", "").is_ok());
    for bad in ["http://10.0.0.1:5000", "ftp://localhost", "\"not an address\""] {
        assert_eq!(broker(bad, "").unwrap_err().code(), ErrorCode::ConfigInvalid, "{bad}");
    }
    let both = "  allow_insecure_tls_for_localhost: true\n  tls: { ca_file: ca.pem }\n";
    assert_eq!(broker("https://localhost:1", both).unwrap_err().code(), ErrorCode::ConfigInvalid);
    let short = "  tls: { pin_sha256: abcd }\n";
    assert_eq!(broker("https://localhost:1", short).unwrap_err().code(), ErrorCode::ConfigInvalid);
    let unlisted = BROKER.split("accounts").next().unwrap();
    assert_eq!(read(unlisted).unwrap_err().code(), ErrorCode::ConfigInvalid);
}

#[test]
fn the_region_whose_midnight_ends_the_session_can_be_chosen() {
    let region = |more: &str| {
        let Backing::Brokers(list) = with_broker(more).unwrap().backing else { panic!("brokers") };
        list[0].region
    };
    assert_eq!(region(""), Region::NewYork);
    assert_eq!(region("session:\n  region: zug\n"), Region::Zug);
    assert_eq!(region("session:\n  region: hong_kong\n"), Region::HongKong);
}

#[test]
fn a_paper_scope_needs_paper_to_be_enabled() {
    let scope = "auth:\n  enabled_scopes: [\"ibkr:orders:paper:submit\"]\n";
    let error = with_broker(scope).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConfigWriteToolsForbidden);
    let settings = with_broker(&format!("{scope}paper:\n  enabled: true\n")).unwrap();
    assert_eq!(settings.local_scopes, ScopeSet::from_iter([Scope::OrdersPaperSubmit]));
    let off = format!("{scope}paper:\n  enabled: true\npreview:\n  enabled: false\n");
    assert!(with_broker(&off).is_err(), "an order can't be submitted without a preview");
}

#[test]
fn given_limits_replace_the_built_in_ones_and_only_those() {
    let text = "paper:\n  enabled: true\nrisk:\n  policies:\n  - id: mine\n    currency: eur\n    \
        allowed_symbols: [aapl]\n    denied_symbols: [tsla]\n    max_quantity: 7\n    \
        max_notional: \"1234.50\"\n    max_quote_age_seconds: 3\n    \
        accept_delayed_for_paper: false\n    max_orders_per_day: 9\n";
    let limits = with_broker(text).unwrap().limits;
    assert_eq!(limits.id, "mine");
    assert_eq!(limits.max_quantity, Decimal::from(7));
    assert_eq!(limits.max_notional.to_string(), "1234.5 EUR");
    assert_eq!(limits.max_notional_per_day.currency, Currency::parse("EUR").unwrap());
    assert_eq!(limits.max_quote_age, Duration::from_secs(3));
    assert_eq!(limits.allowed_symbols, Some(["AAPL".to_owned()].into()));
    assert!(limits.denied_symbols.contains("TSLA") && limits.delayed_data_modes.is_empty());
    assert_eq!(limits.max_orders_per_day, 9);
    let built_in = with_broker("paper:\n  enabled: true\n").unwrap().limits;
    assert_eq!(limits.max_orders_per_minute, built_in.max_orders_per_minute);
    assert_eq!(limits.collar_percent, built_in.collar_percent);
    let several = "risk:\n  policies:\n  - id: live\n    max_quantity: 1\n  - id: paper\n    \
        max_quantity: 2\n";
    assert_eq!(with_broker(several).unwrap().limits.max_quantity, Decimal::from(2));
}

#[test]
fn an_issuers_callers_get_reads_unless_more_is_listed_and_never_past_what_is_enabled() {
    let issuer = |more: &str| {
        let text = format!(
            "remote_mcp:\n  issuer: https://issuer.example\n  \
             audiences: [https://mcp.example]\n{more}"
        );
        read(&text).unwrap().issuers.remove(0).1
    };
    assert_eq!(issuer(""), ScopeSet::up_to(Tier::Read));
    let asked = "  allowed_scopes: [\"ibkr:orders:paper:submit\", \"ibkr:orders:live:submit\"]\n";
    assert_eq!(issuer(asked), ScopeSet::from_iter([Scope::OrdersPaperSubmit]));
    let text =
        "remote_mcp:\n  issuer: https://issuer.example\n  audiences: [https://mcp.example]\n";
    let settings = read(text).unwrap();
    let config = settings.sidecar(PathBuf::from("/s"), "");
    assert_eq!(config.issuers[0].issuer, "https://issuer.example");
    assert_eq!(
        config.issuer_ceilings.get("https://issuer.example"),
        Some(&ScopeSet::up_to(Tier::Read))
    );
}

#[test]
fn the_link_is_off_until_both_switches_are_on_and_its_times_are_checked() {
    let link = |more: &str| {
        read(&format!("safety:\n  sidecar_enabled: true\nsidecar:\n  enabled: true\n{more}"))
    };
    let relay = link("  heartbeat_interval_seconds: 5\n  heartbeat_timeout_seconds: 20\n");
    let relay = relay.unwrap().relay.unwrap();
    assert_eq!(relay.heartbeat_interval, Some(Duration::from_secs(5)));
    assert_eq!(relay.heartbeat_timeout, Some(Duration::from_secs(20)));
    for bad in [
        "  heartbeat_interval_seconds: 0\n",
        "  heartbeat_timeout_seconds: 301\n",
        "  heartbeat_interval_seconds: 20\n  heartbeat_timeout_seconds: 20\n",
    ] {
        assert_eq!(link(bad).unwrap_err().code(), ErrorCode::ConfigInvalid, "{bad}");
    }
}

#[test]
fn toolsets_choose_what_local_clients_are_shown_and_an_unknown_one_is_refused() {
    assert_eq!(read("").unwrap().listing, Listing::default());
    let all = read("tools:\n  toolsets: [all]\n").unwrap();
    assert_eq!(all.listing, Listing::everything());
    let some = read("tools:\n  toolsets: [default, options]\n").unwrap();
    assert_eq!(some.listing, Listing::parse("options,default").unwrap());
    let refused = read("tools:\n  toolsets: [default, opitons]\n").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ConfigInvalid);
    assert!(refused.to_string().contains("tools.toolsets"), "{refused}");
    assert!(refused.to_string().contains("options"), "the known names are told: {refused}");
}

#[test]
fn the_age_of_a_token_that_submits_is_a_value_of_this_end_too() {
    let age = |more: &str| {
        let text = format!("remote_mcp:\n  issuer: https://issuer.example\n  {more}\n");
        let settings = read(&format!("{text}  audiences: [https://mcp.example]\n"))?;
        Ok::<_, ConfigError>(settings.sidecar(PathBuf::from("/s"), "").max_submit_token_age)
    };
    assert_eq!(age("").unwrap(), Duration::from_secs(900));
    for (seconds, good) in [(0, false), (1, true), (86_400, true), (86_401, false)] {
        let told = age(&format!("max_submit_token_age_seconds: {seconds}"));
        assert_eq!(told.is_ok(), good, "{seconds}: {told:?}");
        if let Ok(age) = told {
            assert_eq!(age, Duration::from_secs(seconds));
        }
    }
}
