//! Who else could use the gateway's login: other hosts, other users of this one, web pages.
//!
//! The Client Portal Gateway has one session for everybody whom it answers, listens on all
//! addresses and knows no password of its own. So each of these doors is tried: from every other
//! address of this machine, as another user where we may become one, and with a foreign origin.

use super::door::Place;
use super::probe::{FOREIGN_ORIGIN, Probe};
use super::report::Finding;
use crate::failure::Failure;
use crate::run::Context;
use ibkr_agent_domain::{ErrorCode, Mode};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Most addresses of this machine that are tried.
const MAX_ADDRESSES: usize = 16;
/// Time to find out whether a port listens.
const CONNECT: Duration = Duration::from_secs(2);
/// Time for the attempt as another user.
const AS_OTHER: Duration = Duration::from_secs(15);
/// The user that nobody is.
const NOBODY: u32 = 65_534;

/// Tries every door but the proper one.
pub(super) async fn examine(
    place: &Place,
    probe: &Probe,
    expect: Mode,
    context: &Context<'_>,
) -> Vec<Finding> {
    let origins = origins(probe).await;
    if !place.is_loopback {
        let says = "The gateway is on another machine: whoever reaches it there can use its login.";
        let far = Finding::warn("isolation.network", says)
            .next("Run the sidecar on the gateway's machine, and wall both in there.");
        let users = Finding::skipped("isolation.users", "Run the doctor on the gateway's machine.");
        return vec![far, users, origins];
    }
    let network = network(place.port, &tried(place, local_addresses().await).await);
    vec![network, users(place.port, expect, context).await, origins]
}

/// What an address of this machine said to a request for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Nobody listens there.
    Shut,
    /// It listens and refused the address.
    Refused,
    /// It listens and doesn't answer, as when it can't reach IBKR; what it would say isn't known.
    Unclear,
    /// It answered.
    Open,
}

async fn tried(place: &Place, addresses: Vec<IpAddr>) -> Vec<(IpAddr, Door)> {
    let mut trying = JoinSet::new();
    for address in addresses {
        let at = SocketAddr::new(address, place.port);
        let base_url = place.base_url.clone();
        trying.spawn(async move { (address, door(&base_url, at).await) });
    }
    let mut tried = trying.join_all().await;
    tried.sort_by_key(|(address, _)| *address);
    tried
}

async fn door(base_url: &str, at: SocketAddr) -> Door {
    let connected = timeout(CONNECT, TcpStream::connect(at)).await;
    if !matches!(connected, Ok(Ok(_))) {
        return Door::Shut;
    }
    let Some(probe) = Probe::new(base_url, Some(at)) else {
        return Door::Unclear;
    };
    match probe.status().await {
        Ok(answer) if answer.is_address_refusal() => Door::Refused,
        Ok(_) => Door::Open,
        Err(_) => Door::Unclear,
    }
}

fn network(port: u16, tried: &[(IpAddr, Door)]) -> Finding {
    const CHECK: &str = "isolation.network";
    let which = |wanted: Door| {
        let found = tried.iter().filter(|(_, door)| *door == wanted);
        let names: Vec<String> = found.map(|(address, _)| address.to_string()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let wall = format!(
        "Close the port to the network, such as with nft add rule inet filter input \
        iif != lo tcp dport {port} drop, and start the gateway with ibkr-agent gateway run, whose \
        configuration lets in loopback only."
    );
    if let Some(open) = which(Door::Open) {
        let says = format!(
            "The gateway answers at {open}: who reaches this address can use its \
            login."
        );
        return Finding::fail(CHECK, ErrorCode::ConfigInvalid, says).next(wall);
    }
    if let Some(unclear) = which(Door::Unclear) {
        let says = format!(
            "The gateway listens at {unclear}, too; whether it would answer there \
            isn't clear, since it doesn't answer at all."
        );
        return Finding::warn(CHECK, says).next(wall);
    }
    if let Some(refused) = which(Door::Refused) {
        let says = format!(
            "The gateway listens at {refused}, too, and refuses by its list of \
            addresses. It can't be told to listen on loopback alone."
        );
        return Finding::warn(CHECK, says).next(wall);
    }
    let says =
        format!("It doesn't listen at any of {} other addresses of this machine.", tried.len());
    Finding::ok(CHECK, says)
}

/// Whether another user of this machine reaches the port.
async fn users(port: u16, expect: Mode, context: &Context<'_>) -> Finding {
    const CHECK: &str = "isolation.users";
    let wall = format!(
        "Keep others off this machine; or run gateway and sidecar in a container or \
        network namespace of their own; or as a user of their own, with a rule such as nft add \
        rule inet filter output oif lo tcp dport {port} meta skuid != THAT_USER reject."
    );
    let open = |says: &str| match expect {
        Mode::Live => Finding::fail(CHECK, ErrorCode::ConfigInvalid, says).next(&wall),
        Mode::Paper | Mode::Simulated => Finding::warn(CHECK, says).next(&wall),
    };
    match as_nobody(port, context).await {
        Tried::Reached => open(
            "Another user of this machine reaches the gateway (tried as nobody): \
            any program here can use its login.",
        ),
        Tried::Kept => {
            Finding::ok(CHECK, "Another user of this machine doesn't reach it (tried as nobody).")
        }
        Tried::NotRoot => open(
            "Loopback is open to every user of this machine unless it is walled \
            in; only root can try that as another user.",
        ),
        Tried::Failed(why) => open(&format!(
            "Loopback is open to every user of this machine unless \
            it is walled in; trying as another user failed: {why}."
        )),
    }
}

enum Tried {
    Reached,
    Kept,
    NotRoot,
    Failed(String),
}

/// Calls this program as the user `nobody`, who tries to connect.
async fn as_nobody(port: u16, context: &Context<'_>) -> Tried {
    if !rustix::process::geteuid().is_root() {
        return Tried::NotRoot;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Tried::Failed(error.to_string()),
    };
    let port = port.to_string();
    let asked = Command::new(program)
        .args(["--state-dir", "/nonexistent", "doctor", "--try-port", &port])
        .env_clear()
        .envs((context.environment)("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match timeout(AS_OTHER, asked).await {
        Ok(Ok(status)) => match status.code() {
            Some(0) => Tried::Reached,
            Some(3) => Tried::Kept,
            _ => Tried::Failed(status.to_string()),
        },
        Ok(Err(error)) => Tried::Failed(error.to_string()),
        Err(_) => Tried::Failed("it took too long".to_owned()),
    }
}

/// What the program does when it is called by [`as_nobody`].
pub(super) async fn try_port(port: u16) -> Result<(), Failure> {
    match timeout(CONNECT, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let message = format!("port {port} isn't reached");
            Err(Failure::new(ErrorCode::BrokerBackendUnavailable, message))
        }
    }
}

/// Whether a page of a foreign origin may post.
async fn origins(probe: &Probe) -> Finding {
    match probe.preflight().await {
        Ok(answer) => judge_origin(answer.allow_origin.as_deref()),
        Err(_) => Finding::skipped(
            "isolation.origins",
            "The gateway doesn't answer a browser's question.",
        ),
    }
}

fn judge_origin(allowed: Option<&str>) -> Finding {
    const CHECK: &str = "isolation.origins";
    if allowed.is_some_and(|allowed| allowed == "*" || allowed == FOREIGN_ORIGIN) {
        let says = "Every web page in a browser of this machine may use the gateway's login.";
        return Finding::fail(CHECK, ErrorCode::ConfigInvalid, says).next(
            "Start the gateway with ibkr-agent gateway run, whose configuration lets in the login \
             page's own origin only; or put it into cors of its conf.yaml.",
        );
    }
    Finding::ok(CHECK, "A web page of a foreign origin isn't let in.")
}

/// Every address of this machine but loopback and link-local ones.
#[cfg(target_os = "linux")]
fn local_addresses() -> std::future::Ready<Vec<IpAddr>> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = addresses_v4(&read("/proc/net/fib_trie"));
    found.extend(addresses_v6(&read("/proc/net/if_inet6")));
    std::future::ready(chosen(found))
}

/// Every address of this machine but loopback and link-local ones.
#[cfg(not(target_os = "linux"))]
async fn local_addresses() -> Vec<IpAddr> {
    let asked = Command::new("/sbin/ifconfig")
        .arg("-a")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(AS_OTHER, asked).await {
        Ok(Ok(output)) => chosen(addresses_of(&String::from_utf8_lossy(&output.stdout))),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn chosen(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let is_wanted = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    };
    let mut chosen: Vec<IpAddr> = found.into_iter().filter(is_wanted).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen.truncate(MAX_ADDRESSES);
    chosen
}

/// Local addresses in the kernel's routing table: a line with the address, then one that says so.
#[cfg(target_os = "linux")]
fn addresses_v4(table: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.map(IpAddr::V4));
        }
    }
    found
}

/// Addresses in the kernel's list: 32 hexadecimal digits each.
#[cfg(target_os = "linux")]
fn addresses_v6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|bits| IpAddr::V6(bits.into()))
    };
    table.lines().filter_map(address).collect()
}

/// Addresses in the answer of `ifconfig`.
#[cfg(any(test, not(target_os = "linux")))]
fn addresses_of(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let is_address = matches!(words.next(), Some("inet" | "inet6"));
        words.next().filter(|_| is_address)?.parse().ok()
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::report::Verdict;

    #[test]
    fn an_open_door_fails_a_refusing_one_warns_and_a_shut_one_is_fine() {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let judged = |tried: &[(IpAddr, Door)]| network(5000, tried);
        let mut tried = vec![(address(1), Door::Shut)];
        assert_eq!(judged(&tried).verdict, Verdict::Ok);
        tried.push((address(2), Door::Refused));
        assert_eq!(judged(&tried).verdict, Verdict::Warn);
        assert!(judged(&tried).says().contains("192.0.2.2"));
        tried.push((address(3), Door::Unclear));
        assert!(judged(&tried).says().contains("192.0.2.3"));
        tried.push((address(4), Door::Open));
        let open = judged(&tried);
        assert_eq!(open.verdict, Verdict::Fail(ErrorCode::ConfigInvalid));
        assert!(open.says().contains("192.0.2.4") && !open.says().contains("192.0.2.1"));
    }

    #[test]
    fn a_foreign_origin_that_is_let_in_fails() {
        for allowed in ["*", FOREIGN_ORIGIN] {
            let verdict = judge_origin(Some(allowed)).verdict;
            assert_eq!(verdict, Verdict::Fail(ErrorCode::ConfigInvalid), "{allowed}");
        }
        for allowed in [None, Some("https://localhost:5000"), Some("null")] {
            assert_eq!(judge_origin(allowed).verdict, Verdict::Ok, "{allowed:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernels_lists_are_read() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            +-- 127.0.0.0/8 2 0 2\n   |-- 127.0.0.1\n      /32 host LOCAL\n\
            |-- 192.0.2.2\n      /32 host LOCAL\n   |-- 192.0.2.255\n      /32 link BROADCAST\n";
        let found = chosen(addresses_v4(&table.repeat(2)));
        assert_eq!(found, [IpAddr::from([192, 0, 2, 2])]);
        let six = "fd000000000000000000000000000002 02 40 00 80 eth0\n\
            fe80000000000000000000000000abcd 02 40 20 80 eth0\n\
            00000000000000000000000000000001 01 80 10 80 lo\n";
        assert_eq!(chosen(addresses_v6(six)), ["fd00::2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_answer_of_ifconfig_is_read() {
        let text = "en0: flags=8863<UP>\n\tinet 192.0.2.7 netmask 0xffffff00\n\
            \tinet6 fe80::1%en0 prefixlen 64\n\tinet6 fd00::7 prefixlen 64\n\
            lo0:\n\tinet 127.0.0.1\n";
        let found = chosen(addresses_of(text));
        let expected: [IpAddr; 2] = ["192.0.2.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_port_is_tried_as_the_calling_user() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        try_port(port).await.unwrap();
        // Taken, so that nobody else listens there, and not listening.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = silent.local_addr().unwrap().port();
        assert_eq!(try_port(port).await.unwrap_err().exit_code(), 3);
    }
}
