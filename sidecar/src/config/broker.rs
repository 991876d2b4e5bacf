//! `broker` and `brokers`: what stands behind the gateway.

use super::{Backing, ConfigError, invalid};
use ibkr_agent_broker::{BrokerConfig, Region, TlsPolicy};
use ibkr_agent_domain::{BrokerName, Mode};
use ibkr_agent_protocol::config::{
    RawBackend, RawBroker, RawConfig, RawExpect, RawRegion, RawTls, RawTokenType,
};
use ibkr_agent_token::TokenType;
use std::path::PathBuf;

pub(super) fn backing(raw: &RawConfig) -> Result<Backing, ConfigError> {
    let mut backing = logins(raw)?;
    if let Backing::Brokers(list) = &mut backing {
        for login in list {
            login.region = region(raw.session.region);
        }
    }
    Ok(backing)
}

const fn region(raw: RawRegion) -> Region {
    match raw {
        RawRegion::NewYork => Region::NewYork,
        RawRegion::Zug => Region::Zug,
        RawRegion::HongKong => Region::HongKong,
    }
}

fn logins(raw: &RawConfig) -> Result<Backing, ConfigError> {
    let one = raw.broker.as_ref();
    let is_real = one.is_some_and(|one| one.backend == RawBackend::ClientPortalGateway);
    if is_real && !raw.brokers.is_empty() {
        return Err(invalid("brokers", "give broker or brokers, not both"));
    }
    if let Some(one) = one.filter(|_| is_real) {
        return Ok(Backing::Brokers(vec![single(one, raw)?]));
    }
    if raw.brokers.is_empty() {
        return Ok(Backing::Simulator);
    }
    let mut list = Vec::new();
    for (name, broker) in &raw.brokers {
        let name =
            BrokerName::parse(name).map_err(|error| invalid("brokers", error.to_string()))?;
        let url = broker.base_url.as_deref();
        let url = url.ok_or(ConfigError::MissingBaseUrl { key: "brokers.<name>.base_url" })?;
        list.push(login(name, url, broker.expect, &broker.tls, false)?);
    }
    Ok(Backing::Brokers(list))
}

fn single(one: &RawBroker, raw: &RawConfig) -> Result<BrokerConfig, ConfigError> {
    const KEY: &str = "sidecar.local_client_portal_base_url";
    let second = raw.sidecar.local_client_portal_base_url.as_deref();
    let url = match (one.base_url.as_deref(), second) {
        (Some(first), Some(second)) if first != second => {
            return Err(invalid(KEY, "differs from broker.base_url"));
        }
        (Some(url), _) | (None, Some(url)) => url,
        (None, None) => return Err(ConfigError::MissingBaseUrl { key: "broker.base_url" }),
    };
    let expect = one.expect;
    let name = match expect {
        Some(RawExpect::Live) => "live",
        Some(RawExpect::Paper) | None => "paper",
    };
    let name = BrokerName::parse(name).map_err(|error| invalid("broker", error.to_string()))?;
    login(name, url, expect, &one.tls, one.allow_insecure_tls_for_localhost)
}

fn login(
    name: BrokerName,
    url: &str,
    expect: Option<RawExpect>,
    tls: &RawTls,
    accept_any: bool,
) -> Result<BrokerConfig, ConfigError> {
    let mode = match expect {
        Some(RawExpect::Live) => Mode::Live,
        Some(RawExpect::Paper) | None => Mode::Paper,
    };
    let uri: http::Uri = url.parse().map_err(|_| {
        invalid("broker.base_url", "isn't an address such as https://localhost:5000")
    })?;
    let host = uri.host().unwrap_or_default();
    let mut config = BrokerConfig::new(name, url, mode);
    config.tls = tls_policy(tls, accept_any)?;
    if config.tls == TlsPolicy::AcceptInvalidOnLoopback && !is_loopback(host) {
        return Err(ConfigError::TlsBypass { url: url.to_owned() });
    }
    match uri.scheme_str() {
        Some("https") => Ok(config),
        Some("http") if is_loopback(host) => Ok(config),
        Some("http") => Err(invalid("broker.base_url", "plain http is for loopback only")),
        Some(_) | None => Err(invalid("broker.base_url", "must begin with https://")),
    }
}

fn tls_policy(tls: &RawTls, accept_any: bool) -> Result<TlsPolicy, ConfigError> {
    const KEY: &str = "tls";
    let accept_any = accept_any || tls.allow_insecure_tls_for_localhost;
    match (&tls.pin_sha256, &tls.ca_file, accept_any) {
        (None, None, false) => Ok(TlsPolicy::SystemRoots),
        (None, None, true) => Ok(TlsPolicy::AcceptInvalidOnLoopback),
        (None, Some(file), false) => Ok(TlsPolicy::CaFile(PathBuf::from(file))),
        (Some(pin), None, false) => ibkr_agent_protocol::relay::join::from_hex::<32>(pin)
            .map(TlsPolicy::PinSha256)
            .ok_or_else(|| invalid("tls.pin_sha256", "isn't 64 hexadecimal digits")),
        _ => Err(invalid(
            KEY,
            "give one of pin_sha256, ca_file and allow_insecure_tls_for_localhost",
        )),
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) const fn token_type(raw: RawTokenType) -> TokenType {
    match raw {
        RawTokenType::AtJwt => TokenType::AtJwt,
        RawTokenType::Jwt => TokenType::Jwt,
    }
}
