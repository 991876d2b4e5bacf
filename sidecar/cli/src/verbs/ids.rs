//! Ids as people type them: the beginning is enough where it means one thing.
//!
//! Only a name is completed here. What it stands for is shown before anything is signed, and a
//! beginning that fits several is refused with them.

use crate::failure::Failure;
use crate::open::Opened;
use ibkr_agent_gateway::operator::Verb as Act;
use serde_json::Value;

/// Shortest beginning that is completed, in characters.
const SHORTEST: usize = 6;

/// The approval that somebody means; what fits none stays as it was typed.
pub(crate) async fn approval(opened: &Opened, typed: String) -> Result<String, Failure> {
    // Who says no with a whole id isn't held up by a list that fails.
    let Ok(listed) = opened.perform(Act::Approvals { all: true }, None).await else {
        return Ok(typed);
    };
    let rows = listed.get("approvals").and_then(Value::as_array).into_iter().flatten();
    let ids: Vec<&str> = rows.filter_map(|row| row.get("approval_id")?.as_str()).collect();
    completed(&ids, &typed)
}

fn completed(known: &[&str], typed: &str) -> Result<String, Failure> {
    let typed = typed.trim_end_matches('…');
    if known.contains(&typed) || typed.chars().count() < SHORTEST {
        return Ok(typed.to_owned());
    }
    let fits: Vec<&str> = known.iter().copied().filter(|id| id.starts_with(typed)).collect();
    match fits.as_slice() {
        [] => Ok(typed.to_owned()),
        [only] => Ok((*only).to_owned()),
        several => {
            let message = format!("{typed} is the beginning of {}", several.join(", "));
            Err(Failure::input(message).next_step("Type more of the one that you mean."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_names_the_only_one_that_it_fits_and_nothing_when_it_fits_several() {
        let known = ["ap-3f2a11", "ap-3f2b22", "ap-3f2a"];
        let of = |typed: &str| completed(&known, typed);
        let is = |id: &str| Ok(id.to_owned());
        assert_eq!(of("ap-3f2b"), is("ap-3f2b22"));
        assert_eq!(of("ap-3f2b…"), is("ap-3f2b22"), "as a table cuts it");
        assert_eq!(of("ap-3f2a"), is("ap-3f2a"), "a whole id is itself, whatever begins with it");
        assert_eq!(of("ap-9999"), is("ap-9999"), "the sidecar says that there is none");
        assert_eq!(of("ap-3"), is("ap-3"), "too short to mean one thing for long");
        let several = of("ap-3f2").unwrap_err();
        assert_eq!(several.exit_code(), 2);
        assert!(several.0.message.contains("ap-3f2a11, ap-3f2b22, ap-3f2a"), "{several}");
    }
}
