//! Who listens on a port of this machine.
//!
//! Linux tells it in `/proc`, elsewhere `lsof` is asked if it is there. Processes of other users
//! can't be seen without being root; then only the user's number is known.

use ibkr_agent_domain::Untrusted;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

/// Longest command that is shown, in characters.
const MAX_COMMAND: usize = 160;

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Owner {
    /// The process, when it can be seen.
    pub(super) pid: Option<u32>,
    /// Its group, when it can be seen.
    pub(super) group: Option<u32>,
    /// Its user's number, when it is told.
    pub(super) user: Option<u32>,
    /// Its command, escaped and bounded; empty when it can't be seen.
    pub(super) command: String,
}

impl Owner {
    /// Whether it looks like a Client Portal Gateway.
    pub(super) fn is_gateway(&self) -> bool {
        self.command.contains("clientportal.gw")
    }

    /// Whether it is this child or belongs to its group; not known of a process that can't be seen.
    pub(super) fn is_child(&self, child: u32) -> Option<bool> {
        let pid = self.pid?;
        Some(pid == child || self.group == Some(child))
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        match (self.pid, self.user) {
            (Some(pid), _) => format!("process {pid} ({})", self.command),
            (None, Some(user)) => format!("a process of the user with number {user}"),
            (None, None) => "another process".to_owned(),
        }
    }
}

/// Whether nobody listens on the port, at any address of this machine.
pub(super) fn is_free(port: u16) -> bool {
    // Each of the three can be taken while the others are free. Each is let go before the next.
    let taken = |bound: std::io::Result<TcpListener>| bound.is_err();
    // A host without IPv6 can't listen there, which isn't the same as taken.
    let in_use = |error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    let taken6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).err().is_some_and(in_use);
    !(taken6
        || taken(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        || taken(TcpListener::bind((Ipv4Addr::LOCALHOST, port))))
}

fn shown(command: &str) -> String {
    Untrusted::bounded(command.trim(), MAX_COMMAND).as_str().to_owned()
}

/// Who listens on the port, if anybody does and if that can be found out.
#[cfg(target_os = "linux")]
pub(super) async fn owner(port: u16) -> Option<Owner> {
    tokio::task::spawn_blocking(move || linux::owner(port)).await.ok().flatten()
}

/// Who listens on the port, if anybody does and if that can be found out.
#[cfg(not(target_os = "linux"))]
pub(super) async fn owner(port: u16) -> Option<Owner> {
    use std::process::Stdio;
    use std::time::Duration;
    let asked = tokio::process::Command::new("lsof")
        .args(["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-Fpgcu"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
    parse_lsof(&String::from_utf8_lossy(&output.stdout))
}

/// The first process in the answer of `lsof -F`: a letter and a value per line.
#[cfg(any(test, not(target_os = "linux")))]
fn parse_lsof(text: &str) -> Option<Owner> {
    let mut owner = Owner::default();
    for line in text.lines() {
        let mut rest = line.chars();
        match (rest.next(), rest.as_str()) {
            (Some('p'), _) if owner.pid.is_some() => break,
            (Some('p'), value) => owner.pid = value.parse().ok(),
            (Some('g'), value) => owner.group = value.parse().ok(),
            (Some('u'), value) => owner.user = value.parse().ok(),
            (Some('c'), value) => owner.command = shown(value),
            (_, _) => {}
        }
    }
    owner.pid.is_some().then_some(owner)
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Owner, shown};
    use std::fs;
    use std::io::Read as _;
    use std::path::Path;

    /// Most bytes of a table or a command line that are read.
    const MAX_TABLE: u64 = 8 * 1024 * 1024;
    const MAX_LINE: u64 = 64 * 1024;

    pub(super) fn owner(port: u16) -> Option<Owner> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let sockets: Vec<(u64, u32)> = tables
            .into_iter()
            .filter_map(|table| text(Path::new(table), MAX_TABLE))
            .flat_map(|table| listeners(&table, port))
            .collect();
        let (_, user) = sockets.first()?;
        let names: Vec<String> =
            sockets.iter().map(|(inode, _)| format!("socket:[{inode}]")).collect();
        let seen = process_with(&names);
        Some(seen.unwrap_or_else(|| Owner { user: Some(*user), ..Owner::default() }))
    }

    /// Inode and user of every listening socket on the port in a table of `/proc/net`.
    pub(super) fn listeners(table: &str, port: u16) -> Vec<(u64, u32)> {
        let wanted = format!(":{port:04X}");
        let listener = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_wanted = fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A";
            let user = fields.get(7)?.parse().ok()?;
            let inode = fields.get(9)?.parse().ok()?;
            is_wanted.then_some((inode, user))
        };
        table.lines().skip(1).filter_map(listener).collect()
    }

    fn process_with(names: &[String]) -> Option<Owner> {
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Ok(files) = fs::read_dir(entry.path().join("fd")) else {
                continue;
            };
            let is_it = files.flatten().any(|file| {
                let target = fs::read_link(file.path());
                target.is_ok_and(|target| names.iter().any(|name| target.as_os_str() == &**name))
            });
            if is_it {
                let command = text(&entry.path().join("cmdline"), MAX_LINE).unwrap_or_default();
                let group = text(&entry.path().join("stat"), MAX_LINE);
                return Some(Owner {
                    pid: Some(pid),
                    group: group.and_then(|stat| group_of(&stat)),
                    user: None,
                    command: command_of(&command),
                });
            }
        }
        None
    }

    /// The process group in a line of `/proc/*/stat`. The name before it may hold anything.
    pub(super) fn group_of(stat: &str) -> Option<u32> {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(2)?.parse().ok()
    }

    /// A command line: the program, and of the rest what names a gateway. Other arguments may hold
    /// secrets.
    fn command_of(line: &str) -> String {
        let mut words = line.split('\0');
        let program = words.next().unwrap_or_default();
        let gateway = words.find(|word| word.contains("clientportal.gw"));
        match gateway
            .and_then(|word| word.rsplit(['/', ':']).find(|part| part.contains("clientportal.gw")))
        {
            Some(word) => shown(&format!("{program} {word}")),
            None => shown(program),
        }
    }

    fn text(path: &Path, most: u64) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_of_ours_is_found_and_the_port_is_free_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port));
        let found = owner(port).await.unwrap();
        assert_eq!(found.pid, Some(std::process::id()), "{found:?}");
        assert_eq!(found.is_child(std::process::id()), Some(true));
        assert!(!found.is_gateway() && !found.command.is_empty());
        drop(listener);
        // A process that another test is starting holds a copy until it runs its program.
        let let_go = async {
            while !is_free(port) || owner(port).await.is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), let_go).await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_tables_are_read_for_listeners_only() {
        let table = "  sl  local_address rem_address   st tx:rx tr:when retrnsmt uid timeo inode\n\
            0: 0100007F:1388 00000000:0000 0A 0:0 0:0 00000000  1000 0 4242 1 x\n\
            1: 0100007F:1388 0100007F:9999 01 0:0 0:0 00000000  1001 0 4243 1 x\n\
            2: 00000000:1389 00000000:0000 0A 0:0 0:0 00000000  1002 0 4244 1 x\n";
        assert_eq!(linux::listeners(table, 5000), [(4242, 1000)]);
        assert_eq!(linux::listeners(table, 5002), []);
        assert_eq!(linux::group_of("12 (a) b) (c) S 1 77 77 0 -1"), Some(77));
    }

    #[test]
    fn the_answer_of_lsof_is_read_for_its_first_process() {
        let text = "p61\ng61\ncControlCe\nu501\nf9\np99\ncother\n";
        let owner = parse_lsof(text).unwrap();
        assert_eq!((owner.pid, owner.group, owner.user), (Some(61), Some(61), Some(501)));
        assert_eq!(owner.command, "ControlCe");
        assert_eq!(parse_lsof(""), None);
    }
}
