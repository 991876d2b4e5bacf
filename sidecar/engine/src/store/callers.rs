//! The stored form of an admission: its key is the caller, its value who admitted it and when.
//!
//! Rows from before that was kept hold the version alone, and an older program looks at no more.

use super::{VERSION, encode, rows::damaged};
use crate::Admitted;
use ibkr_agent_audit::StoreFailure;
use ibkr_agent_domain::{OperatorKeyId, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    at: i64,
    by: Option<String>,
}

pub(super) fn write(admitted: &Admitted) -> Result<Vec<u8>, StoreFailure> {
    let Some(at) = admitted.admitted_at else {
        return Ok(vec![VERSION]);
    };
    let by = admitted.admitted_by.as_ref().map(OperatorKeyId::to_string);
    encode(&Stored { at: at.as_millis(), by })
}

pub(super) fn read(caller: Vec<u8>, value: &[u8]) -> Result<Admitted, StoreFailure> {
    let caller = String::from_utf8(caller).map_err(damaged)?;
    let stored: Option<Stored> = match value.split_first() {
        None | Some((_, [])) => None,
        Some((_, json)) => Some(serde_json::from_slice(json).map_err(damaged)?),
    };
    let by = stored.as_ref().and_then(|stored| stored.by.as_deref());
    let admitted_by = by.map(OperatorKeyId::parse).transpose().map_err(damaged)?;
    let admitted_at = stored.map(|stored| Timestamp::from_millis(stored.at));
    Ok(Admitted { caller, admitted_at, admitted_by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admission_is_read_back_and_an_older_one_says_that_nothing_is_known() {
        let admitted = Admitted {
            caller: "token:https://i.example|ann|app".to_owned(),
            admitted_at: Some(Timestamp::from_millis(1_700_000_000_000)),
            admitted_by: OperatorKeyId::parse("0123456789abcdef").ok(),
        };
        let value = write(&admitted).unwrap();
        assert_eq!(read(admitted.caller.clone().into_bytes(), &value), Ok(admitted.clone()));
        for older in [&[][..], &[1][..], &[VERSION][..]] {
            let read = read(admitted.caller.clone().into_bytes(), older).unwrap();
            assert_eq!((read.admitted_at, read.admitted_by), (None, None));
        }
        assert!(read(b"x".to_vec(), &[VERSION, b'{']).is_err());
    }
}
