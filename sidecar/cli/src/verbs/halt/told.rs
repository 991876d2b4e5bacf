//! What is said of each place: found, done, what still works, and the commands that go on from
//! there.

use super::found::{Place, Search, name_of};
use super::{Contact, Halted};
use crate::args::HaltDomain;
use crate::failure::Failure;
use ibkr_agent_domain::{ErrorCode, Untrusted};
use ibkr_agent_gateway::folder::Holder;
use ibkr_agent_gateway::marker::HALT_FILE;
use serde_json::{Value, json};
use std::path::Path;

/// What passes while a sidecar is halted.
const STILL_WORKS: &str = "reads, previews, cancels";
/// How the id of a record begins that the log couldn't take.
const EMERGENCY: &str = "ev-emergency-";
/// What stops every order where nothing here can.
const LAST_RESORT: &str = "log out at IBKR's gateway or stop it";

/// The whole answer.
pub(super) struct Told {
    pub(super) value: Value,
    pub(super) text: String,
    pub(super) failure: Option<Failure>,
}

/// What is known of one place, in words.
struct Row {
    found: &'static str,
    pid: Option<u32>,
    done: &'static str,
    /// Whether no further order can be placed, now and after a restart.
    halted: bool,
    sentence: String,
    /// What ends the process.
    end: Option<String>,
}

pub(super) fn told(search: &Search, halted: &[Halted], reason: &str) -> Told {
    let mut values = Vec::new();
    let mut lines = Vec::new();
    let mut open = Vec::new();
    for one in halted {
        let row = row(one);
        let name = name_of(one.place.domain);
        if !row.halted {
            open.push(format!("{name} in {}: {}", shown(&one.place.folder), row.sentence));
        }
        lines.push(lines_of(one, &row));
        values.push(value_of(one, &row));
    }
    for (pid, folder) in &search.elsewhere {
        let folder = shown(folder);
        lines.push(format!(
            "not halted: process {pid} runs on {folder}, which this terminal wasn't asked about"
        ));
    }
    lines.extend(search.notes.iter().map(|note| format!("note: {note}")));
    let done = open.is_empty() && !halted.is_empty();
    let event = halted.iter().find_map(|one| match &one.contact {
        Contact::Halted { event, .. } => event.clone(),
        Contact::Unrecorded(_) | Contact::Silent | Contact::Nobody | Contact::Unreachable(_) => {
            None
        }
    });
    let elsewhere: Vec<Value> = search
        .elsewhere
        .iter()
        .map(|(pid, folder)| json!({ "pid": pid, "state_dir": shown(folder) }))
        .collect();
    let value = json!({
        "done": done,
        "reason": Untrusted::bounded(reason, 200).as_str(),
        "domains": values,
        "elsewhere": elsewhere,
        "notes": search.notes,
        "audit_event_id": event,
    });
    let failure = (!done).then(|| failure(search, open));
    Told { value, text: lines.join("\n"), failure }
}

fn failure(search: &Search, open: Vec<String>) -> Failure {
    if !open.is_empty() {
        let mut failure = Failure::new(ErrorCode::HaltIncomplete, "not everything is halted");
        failure.0.details = open;
        return failure;
    }
    let bases: Vec<String> = search.bases.iter().map(|base| shown(base)).collect();
    let message = format!(
        "nothing was halted: there is no state folder under {}, and no running sidecar of this \
         user was found",
        bases.join(" or ")
    );
    Failure::new(ErrorCode::HaltIncomplete, message).next_step(
        "Run it as the user who runs the sidecar, name its folder with --state-dir, or log out at \
         IBKR's gateway or stop it.",
    )
}

fn row(one: &Halted) -> Row {
    if let Some(why) = &one.place.closed {
        return unclear(one, why);
    }
    match (&one.contact, &one.holder) {
        (Contact::Halted { .. }, holder) => answered(holder),
        (Contact::Unrecorded(words), holder) => unrecorded(one, words, holder),
        (Contact::Nobody, Holder::Nobody) => not_running(one),
        (Contact::Silent, Holder::Process { pid, reads_halt }) => {
            let what = format!("{} doesn't answer", process(*pid));
            held(one, ("hung", &what), *pid, *reads_halt)
        }
        (Contact::Nobody, Holder::Process { pid, reads_halt }) => {
            let what = format!("{} runs, and its socket is gone", process(*pid));
            held(one, ("sockets_gone", &what), *pid, *reads_halt)
        }
        (Contact::Unreachable(why), Holder::Process { pid, reads_halt }) => {
            let what = format!("{} can't be reached: {why}", process(*pid));
            held(one, ("unreachable", &what), *pid, *reads_halt)
        }
        (Contact::Silent | Contact::Unreachable(_), Holder::Nobody) => {
            let what = "something that isn't the folder's owner listens at its socket";
            held(one, ("unreachable", what), None, true)
        }
        (Contact::Nobody | Contact::Silent | Contact::Unreachable(_), Holder::Unclear(error)) => {
            unclear(one, &error.to_string())
        }
    }
}

fn answered(holder: &Holder) -> Row {
    let pid = pid_of(holder);
    let sentence = format!("halted by the running sidecar ({})", process(pid));
    Row { found: "running", pid, done: "halted_by_sidecar", halted: true, sentence, end: None }
}

fn unrecorded(one: &Halted, words: &str, holder: &Holder) -> Row {
    let pid = pid_of(holder);
    let kept = match &one.file {
        Ok(()) => "its next start finds the halt's file".to_owned(),
        Err(why) => format!(
            "the halt's file couldn't be written either ({why}), so a restart would trade again"
        ),
    };
    let sentence = format!("halted in the memory of {}: {words}; {kept}", process(pid));
    let (halted, done) = (one.file.is_ok(), "halted_in_memory");
    Row { found: "running", pid, done, halted, sentence, end: None }
}

fn not_running(one: &Halted) -> Row {
    let (sentence, halted, done) = match &one.file {
        Ok(()) => ("no sidecar runs there; the next one starts halted".to_owned(), true, WRITTEN),
        Err(why) => {
            let text = format!(
                "no sidecar runs there, and the halt's file can't be written ({why}): a next start \
                 would trade. Mend the folder and halt again, or {LAST_RESORT}"
            );
            (text, false, NOTHING)
        }
    };
    Row { found: "not_running", pid: None, done, halted, sentence, end: None }
}

const WRITTEN: &str = "file_written";
const NOTHING: &str = "nothing";

/// Somebody holds the folder and can't be told.
fn held(one: &Halted, (found, what): (&'static str, &str), pid: Option<u32>, reads: bool) -> Row {
    let end = pid.map(|pid| format!("kill -9 {pid}"));
    let ends = match &end {
        Some(end) => format!("{end} ends it"),
        None => format!("end that process, or {LAST_RESORT}"),
    };
    let (sentence, halted, done) = match (&one.file, reads) {
        (Ok(()), true) => {
            let text = format!(
                "{what}. The halt's file is written: it is read before each order, also by a \
                 process that hung and goes on. A request that is on its way already is told as \
                 sent. {ends}"
            );
            (text, true, WRITTEN)
        }
        (Ok(()), false) => {
            let text = format!(
                "{what}, and may be of a version that doesn't read the halt's file, which is \
                 written. Only this is sure: {ends}"
            );
            (text, false, WRITTEN)
        }
        (Err(why), _) => {
            let text = format!(
                "{what}, and the halt's file can't be written ({why}): nothing was halted. {ends}"
            );
            (text, false, NOTHING)
        }
    };
    Row { found, pid, done, halted, sentence, end }
}

fn unclear(one: &Halted, why: &str) -> Row {
    let done = if one.file.is_ok() { WRITTEN } else { NOTHING };
    let sentence = format!(
        "the folder can't be looked into ({why}): nothing is known to be halted. Run this as the \
         user who runs the sidecar, end its process, or {LAST_RESORT}"
    );
    Row { found: "unclear", pid: None, done, halted: false, sentence, end: None }
}

const fn pid_of(holder: &Holder) -> Option<u32> {
    match holder {
        Holder::Process { pid, .. } => *pid,
        Holder::Nobody | Holder::Unclear(_) => None,
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"))
}

fn value_of(one: &Halted, row: &Row) -> Value {
    let Place { domain, folder, .. } = &one.place;
    let halt = match &one.contact {
        Contact::Halted { halt, .. } => halt.clone(),
        Contact::Unrecorded(_) | Contact::Silent | Contact::Nobody | Contact::Unreachable(_) => {
            Value::Null
        }
    };
    json!({
        "domain": name_of(*domain),
        "state_dir": shown(folder),
        "found": row.found,
        "pid": row.pid,
        "done": row.done,
        "halted": row.halted,
        "file": one.file.is_ok().then(|| shown(&folder.join(HALT_FILE))),
        "halt": halt,
        "sentence": row.sentence,
        "still_works": still_works(one, row),
        "cancel": cancel(&one.place),
        "resume": resume(&one.place),
        "end_process": row.end,
    })
}

fn lines_of(one: &Halted, row: &Row) -> String {
    let state = if row.halted { "halted" } else { "NOT HALTED" };
    let mut lines = vec![
        format!("{:<10} {state}: {}", name_of(one.place.domain), row.sentence),
        format!("           state folder: {}", shown(&one.place.folder)),
        format!("           still works:  {}", still_works(one, row)),
        format!("           cancel:       {}", cancel(&one.place)),
        format!("           resume:       {}", resume(&one.place)),
    ];
    if let Some(end) = &row.end {
        lines.push(format!("           end it:       {end}"));
    }
    lines.join("\n")
}

fn still_works(one: &Halted, row: &Row) -> String {
    let is_logged = match &one.contact {
        Contact::Halted { event, .. } => {
            !event.as_ref().is_some_and(|event| event.starts_with(EMERGENCY))
        }
        Contact::Unrecorded(_) => false,
        Contact::Silent | Contact::Nobody | Contact::Unreachable(_) => true,
    };
    match row.found {
        "running" if !is_logged => "cancels; the rest when the log can be written again, which a \
                                    restart finds out"
            .to_owned(),
        "running" => STILL_WORKS.to_owned(),
        "sockets_gone" => format!("{STILL_WORKS}, when its sockets are open again: within seconds"),
        "not_running" => format!("{STILL_WORKS}, by the commands, which run one for themselves"),
        _ => format!("nothing here, until that process ended: then {STILL_WORKS}"),
    }
}

fn cancel(place: &Place) -> String {
    let verb = "orders cancel --as-operator --account ACCOUNT --broker-order-id ID";
    let config = match (place.is_configured, place.domain) {
        (false, HaltDomain::Broker) => " --config THE-SIDECARS-CONFIGURATION",
        (true, _) | (false, HaltDomain::Simulator) => "",
    };
    format!("{}{config} {verb}", place.invocation.program())
}

/// Signed; with `--domain` it needs no configuration where a sidecar runs.
fn resume(place: &Place) -> String {
    format!("{} kill-switch open --domain {}", place.invocation.program(), name_of(place.domain))
}

fn shown(path: &Path) -> String {
    Untrusted::new(&path.display().to_string()).to_string()
}
