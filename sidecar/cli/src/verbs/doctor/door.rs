//! One Client Portal Gateway from outside: does it answer, with which certificate, and who is
//! logged in.

use super::isolation;
use super::probe::{Answer, Login, NoAnswer, Probe};
use super::report::Finding;
use crate::run::Context;
use ibkr_agent_domain::{Digest, ErrorCode};
use ibkr_agent_gateway::broker::{BrokerConfig, TlsPolicy};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// SHA-256 of the certificate that IBKR ships with every gateway. Its key is as public as it is.
const SHIPPED: &str = "13daf89a0712b962c3ecaa5ede344100aee0d3b5dec5a79abd7602a812eda3be";

/// Where a gateway is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) base_url: String,
    pub(super) port: u16,
    pub(super) is_loopback: bool,
}

impl Place {
    fn new(config: &BrokerConfig) -> Option<Self> {
        let url = reqwest::Url::parse(&config.base_url).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        let address = host.parse::<IpAddr>();
        let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        let port = url.port_or_known_default()?;
        Some(Self { base_url: config.base_url.clone(), port, is_loopback })
    }
}

/// Looks at a gateway from outside.
pub(super) async fn examine(config: &BrokerConfig, context: &Context<'_>) -> (Login, Vec<Finding>) {
    let place = Place::new(config);
    let probe = Probe::new(&config.base_url, None);
    let (Some(place), Some(probe)) = (place, probe) else {
        let says = format!("{} can't be asked.", config.base_url);
        let finding = Finding::fail("gateway.reachable", ErrorCode::ConfigInvalid, says);
        return (Login::NoConnection, vec![finding]);
    };
    let answer = probe.status().await;
    let mut findings = vec![reachable(&place, &answer)];
    match &answer {
        Ok(answer) => findings.push(certificate(&config.tls, answer)),
        Err(_) => findings.push(Finding::skipped("gateway.tls", "The gateway doesn't answer.")),
    }
    // A gateway that hangs still listens, and can be used again as soon as it reaches IBKR.
    if matches!(answer, Err(NoAnswer::NoConnection)) {
        findings.push(Finding::skipped("isolation", "Nobody listens, so nobody can be let in."));
        return (Login::NoConnection, findings);
    }
    findings.extend(isolation::examine(&place, &probe, config.expect, context).await);
    (probe.login().await, findings)
}

fn reachable(place: &Place, answer: &Result<Answer, NoAnswer>) -> Finding {
    const CHECK: &str = "gateway.reachable";
    let url = &place.base_url;
    let fail = |says: String, next: &str| {
        Finding::fail(CHECK, ErrorCode::BrokerBackendUnavailable, says).next(next)
    };
    match answer {
        Err(NoAnswer::NoConnection) => fail(
            format!("Nobody listens at {url}."),
            "Start the Client Portal Gateway: ibkr-agent gateway run --dir PATH. Or correct \
             base_url in the configuration.",
        ),
        Err(NoAnswer::Closed) => fail(
            format!("{url} closes the connection without an answer."),
            "Check http or https in base_url against listenSsl in the gateway's conf.yaml, and \
             that nothing else listens on this port.",
        ),
        Err(NoAnswer::Hangs) => fail(
            format!(
                "{url} takes a request and doesn't answer, as the gateway does when it can't \
                reach IBKR."
            ),
            "Check this machine's way to the internet, then restart the gateway.",
        ),
        Ok(answer) if answer.is_address_refusal() => fail(
            format!("{url} refuses this machine's address."),
            "Put 127.0.0.1 and ::1 into ips.allow of the gateway's conf.yaml, or start it with \
             ibkr-agent gateway run.",
        ),
        Ok(answer) => Finding::ok(CHECK, format!("{url} answers (HTTP {}).", answer.status)),
    }
}

fn certificate(policy: &TlsPolicy, answer: &Answer) -> Finding {
    const CHECK: &str = "gateway.tls";
    let (Some(der), Some(found)) = (&answer.certificate, answer.fingerprint()) else {
        return Finding::warn(CHECK, "The gateway is asked over plain http.")
            .next("Put listenSsl: true into its conf.yaml and https:// into base_url.");
    };
    let seen = described(der, found);
    let pin = format!(
        "Put tls: {{ pin_sha256: {found} }} into the configuration of this broker, \
        once you know that this is your gateway's."
    );
    match policy {
        TlsPolicy::PinSha256(pinned) if pinned == found.as_bytes() => {
            Finding::ok(CHECK, format!("The certificate is the pinned one: {seen}"))
        }
        TlsPolicy::PinSha256(_) => Finding::fail(
            CHECK,
            ErrorCode::ConfigInvalid,
            format!("The certificate isn't the pinned one, so our client refuses it: {seen}"),
        )
        .next(pin),
        TlsPolicy::AcceptInvalidOnLoopback => Finding::warn(
            CHECK,
            format!("Any certificate is accepted, since it is on loopback: {seen}"),
        )
        .next(pin),
        TlsPolicy::CaFile(_) | TlsPolicy::SystemRoots if is_self_made(der) => Finding::fail(
            CHECK,
            ErrorCode::ConfigInvalid,
            format!(
                "The certificate is self-made or expired; checking it by authorities refuses \
                it: {seen}"
            ),
        )
        .next(pin),
        TlsPolicy::CaFile(_) | TlsPolicy::SystemRoots => {
            Finding::ok(CHECK, format!("The certificate is checked by authorities: {seen}"))
        }
    }
}

/// Its fingerprint, whether it is the one that everybody has, and its expiry.
fn described(der: &[u8], found: Digest) -> String {
    let whose = if found.to_string() == SHIPPED {
        ", the one that IBKR ships to everybody with its key, so it proves nothing to others"
    } else {
        ""
    };
    let expiry = match expired(der) {
        Some(true) => ", expired (as the gateway's own always is)",
        Some(false) | None => "",
    };
    format!("SHA-256 {found}{whose}{expiry}.")
}

fn expired(der: &[u8]) -> Option<bool> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let until = certificate.validity().not_after.timestamp();
    Some(until < i64::try_from(now.as_secs()).ok()?)
}

fn is_self_made(der: &[u8]) -> bool {
    let own = X509Certificate::from_der(der);
    let own = own.is_ok_and(|(_, certificate)| certificate.issuer() == certificate.subject());
    own || expired(der) == Some(true)
}

/// The session as the gateway itself tells it.
pub(super) fn session(login: Login) -> Finding {
    const CHECK: &str = "session";
    let fail = |code, says: &str, next: &str| Finding::fail(CHECK, code, says).next(next);
    let down = ErrorCode::BrokerBackendUnavailable;
    match login {
        Login::Ready { is_paper: Some(true) } => Finding::ok(CHECK, "A paper login is active."),
        Login::Ready { is_paper: Some(false) } => Finding::ok(CHECK, "A LIVE login is active."),
        Login::Ready { is_paper: None } => Finding::ok(CHECK, "Somebody is logged in."),
        Login::LoggedOut => fail(
            ErrorCode::BrokerSessionRequired,
            "Nobody is logged in at the gateway.",
            "Log in at its address in a browser on its host, or through a tunnel.",
        ),
        Login::BrokerageDown => Finding::warn(CHECK, "The brokerage session is down.")
            .next("ibkr-agent session renew brings it up without a login."),
        Login::Competing => fail(
            ErrorCode::BrokerSessionRequired,
            "The same username is active elsewhere.",
            "End it there, or use a second username for the gateway.",
        ),
        Login::NoConnection | Login::Closed | Login::Hangs | Login::AddressRefused => {
            fail(down, "The gateway doesn't answer.", "See gateway.reachable.")
        }
        Login::Unclear(status) => {
            let says = format!("The gateway answers with HTTP {status}, which says nothing.");
            fail(down, &says, "Restart the gateway when this stays.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;

    #[test]
    fn every_way_not_to_answer_has_a_next_step() {
        let place =
            Place { base_url: "https://localhost:5000".to_owned(), port: 5000, is_loopback: true };
        for why in [NoAnswer::NoConnection, NoAnswer::Closed, NoAnswer::Hangs] {
            let finding = reachable(&place, &Err(why));
            assert_eq!(finding.verdict, Verdict::Fail(ErrorCode::BrokerBackendUnavailable));
            assert!(format!("{finding:?}").contains("next_step: Some"), "{finding:?}");
        }
    }

    #[test]
    fn a_session_that_works_is_fine_and_one_that_needs_a_human_fails() {
        let verdict = |login| session(login).verdict;
        for is_paper in [Some(true), Some(false), None] {
            assert_eq!(verdict(Login::Ready { is_paper }), Verdict::Ok);
        }
        let human = Verdict::Fail(ErrorCode::BrokerSessionRequired);
        assert_eq!(verdict(Login::LoggedOut), human);
        assert_eq!(verdict(Login::Competing), human);
        assert_eq!(verdict(Login::BrokerageDown), Verdict::Warn);
        let down = Verdict::Fail(ErrorCode::BrokerBackendUnavailable);
        assert_eq!(verdict(Login::Hangs), down);
        assert_eq!(verdict(Login::Unclear(503)), down);
    }
}
