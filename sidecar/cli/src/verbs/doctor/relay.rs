//! The link to the hosted remote: pairing, age of the certificate, whether the relay is reached.
//!
//! No session is opened: a second one would displace the running sidecar's link.

use super::report::Finding;
use crate::open::Plan;
use ibkr_agent_domain::{ErrorCode, Timestamp};
use ibkr_agent_gateway::relay::{Credentials, CredentialsError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time to reach the relay.
const CONNECT: Duration = Duration::from_secs(5);
/// Life that is left when somebody should ask why the certificate wasn't renewed.
const SHORT: Duration = Duration::from_secs(6 * 3600);

/// Looks at the link as far as it lies on this machine.
pub(super) async fn examine(plan: &Plan) -> Vec<Finding> {
    if plan.settings.relay.is_none() {
        return vec![Finding::skipped("relay", "The link to a remote is off.")];
    }
    let paired = match Credentials::load(&plan.state_dir) {
        Ok(paired) => paired,
        Err(CredentialsError::NotPaired { .. }) => {
            let says = "The link is on and this sidecar isn't paired.";
            return vec![
                Finding::fail("relay.pairing", ErrorCode::SidecarPairingRequired, says).next(
                    "Make a join token on the remote's host, then ibkr-agent sidecar pair here.",
                ),
            ];
        }
        Err(error) => {
            let says = format!("The pairing can't be used: {error}.");
            return vec![
                Finding::fail("relay.pairing", ErrorCode::SidecarSessionInvalid, says)
                    .next("Pair the sidecar again."),
            ];
        }
    };
    let pairing = format!("Paired as {} with {}.", paired.sidecar_id(), paired.url());
    vec![
        Finding::ok("relay.pairing", pairing),
        certificate(paired.expires_at(), SystemTime::now()),
        reachable(paired.url().host(), paired.url().port()).await,
    ]
}

fn certificate(expires_at: SystemTime, now: SystemTime) -> Finding {
    const CHECK: &str = "relay.certificate";
    let since = expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let next = "The sidecar renews it over the link at half of its life: check that it runs \
        (ibkr-agent sidecar run) and reaches the relay.";
    match expires_at.duration_since(now) {
        Err(_) => {
            let says = format!("The sidecar's certificate ran out at {until}.");
            Finding::fail(CHECK, ErrorCode::SidecarPairingRequired, says)
                .next("Pair the sidecar again with a new join token.")
        }
        Ok(left) if left < SHORT => {
            let hours = left.as_secs() / 3600;
            let says = format!("The sidecar's certificate runs out at {until}, in {hours} h.");
            Finding::warn(CHECK, says).next(next)
        }
        Ok(_) => Finding::ok(CHECK, format!("The sidecar's certificate is good until {until}.")),
    }
}

async fn reachable(host: &str, port: u16) -> Finding {
    const CHECK: &str = "relay.reachable";
    let fail = |why: &str| {
        let says = format!("The relay at {host}:{port} isn't reached: {why}.");
        Finding::fail(CHECK, ErrorCode::SidecarUnavailable, says)
            .next("Check this machine's way out, and that the remote runs.")
    };
    match timeout(CONNECT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Finding::ok(CHECK, format!("The relay at {host}:{port} is reached.")),
        Ok(Err(error)) => fail(&error.to_string()),
        Err(_) => fail("no answer in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;

    #[test]
    fn a_certificate_warns_before_it_runs_out_and_fails_after() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let verdict = |expires_at| certificate(expires_at, now).verdict;
        assert_eq!(verdict(now + SHORT), Verdict::Ok);
        assert_eq!(verdict(now + SHORT - Duration::from_secs(1)), Verdict::Warn);
        let ended = Verdict::Fail(ErrorCode::SidecarPairingRequired);
        assert_eq!(verdict(now - Duration::from_secs(1)), ended);
    }

    #[tokio::test]
    async fn a_relay_that_nobody_serves_is_not_reached() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(reachable("127.0.0.1", port).await.verdict, Verdict::Ok);
        // Taken, so that nobody else listens there, and not listening.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = silent.local_addr().unwrap().port();
        let verdict = reachable("127.0.0.1", port).await.verdict;
        assert_eq!(verdict, Verdict::Fail(ErrorCode::SidecarUnavailable));
    }
}
