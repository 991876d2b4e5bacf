//! Scanners: `/iserver/scanner/params` and `/iserver/scanner/run`.

use super::{Many, Scalar, unreadable};
use crate::BrokerError;
use ibkr_agent_domain::{
    AssetClass, ScanHit, ScanRequest, ScannerKind, ScannerParameters, Timestamp, Untrusted,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Most entries of each list, and hits of a scan.
const MAX_ENTRIES: usize = 5_000;
const MAX_HITS: usize = 50;
/// Longest code.
const MAX_CODE: usize = 64;
/// Deepest level of the location tree.
const MAX_DEPTH: u32 = 8;

/// The scanners, instruments, filters and places.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Parameters {
    scan_type_list: Many<ScanType>,
    instrument_list: Many<Named>,
    filter_list: Many<FilterKind>,
    location_tree: Many<Location>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScanType {
    display_name: Scalar,
    code: Scalar,
    instruments: Many<Scalar>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    display_name: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FilterKind {
    display_name: Scalar,
    code: Scalar,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Location {
    display_name: Scalar,
    #[serde(rename = "type")]
    kind: Scalar,
    locations: Many<Self>,
}

impl Parameters {
    /// Entries without a usable code are left out: they can't be asked for.
    pub(crate) fn into_parameters(self, as_of: Timestamp) -> ScannerParameters {
        let kinds = self.scan_type_list.into_iter().take(MAX_ENTRIES).filter_map(|raw| {
            Some(ScannerKind {
                code: code(&raw.code)?,
                name: raw.display_name.named().unwrap_or_default(),
                instruments: raw.instruments.iter().filter_map(code).collect(),
            })
        });
        let pair = |kind: &Scalar, name: &Scalar| -> Option<(String, Untrusted)> {
            Some((code(kind)?, name.named().unwrap_or_default()))
        };
        let instruments = self.instrument_list.iter().take(MAX_ENTRIES);
        let filters = self.filter_list.iter().take(MAX_ENTRIES);
        let mut locations = Vec::new();
        flatten(self.location_tree.iter(), &mut locations, MAX_DEPTH);
        ScannerParameters {
            kinds: kinds.collect(),
            instruments: instruments.filter_map(|raw| pair(&raw.kind, &raw.display_name)).collect(),
            locations,
            filters: filters.filter_map(|raw| pair(&raw.code, &raw.display_name)).collect(),
            as_of: Some(as_of),
        }
    }
}

fn flatten<'a>(
    level: impl Iterator<Item = &'a Location>,
    into: &mut Vec<(String, Untrusted)>,
    depth: u32,
) {
    let Some(below) = depth.checked_sub(1) else {
        return;
    };
    for location in level {
        if into.len() >= MAX_ENTRIES {
            return;
        }
        if let Some(kind) = code(&location.kind) {
            into.push((kind, location.display_name.named().unwrap_or_default()));
        }
        flatten(location.locations.iter(), into, below);
    }
}

/// A code is a short word; anything else could not be sent back.
fn code(scalar: &Scalar) -> Option<String> {
    scalar.text().filter(|text| is_code(text))
}

/// Whether a text can be a scanner's, instrument's, place's or filter's code.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Serialize)]
struct RunBody<'a> {
    instrument: &'a str,
    #[serde(rename = "type")]
    code: &'a str,
    location: &'a str,
    filter: Vec<FilterBody<'a>>,
}

#[derive(Serialize)]
struct FilterBody<'a> {
    code: &'a str,
    value: Box<RawValue>,
}

/// The body of a scan; numbers keep their digits.
pub(crate) fn run_body(request: &ScanRequest) -> Result<Vec<u8>, BrokerError> {
    let invalid = |_| BrokerError::InvalidRequest { what: "a scan that can't be written" };
    let number = |value: Decimal| RawValue::from_string(value.normalize().to_string());
    let filter =
        |(code, value): &'_ (String, Decimal)| number(*value).map(|value| (code.clone(), value));
    let filters: Result<Vec<(String, Box<RawValue>)>, _> =
        request.filters.iter().map(filter).collect();
    let filters = filters.map_err(invalid)?;
    let body = RunBody {
        instrument: &request.instrument,
        code: &request.code,
        location: &request.location,
        filter: filters
            .iter()
            .map(|(code, value)| FilterBody { code, value: value.clone() })
            .collect(),
    };
    serde_json::to_vec(&body).map_err(invalid)
}

/// `/iserver/scanner/run`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ScanAnswer {
    contracts: Many<HitRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HitRow {
    symbol: Scalar,
    con_id: Scalar,
    conidex: Scalar,
    company_name: Scalar,
    contract_description_1: Scalar,
    listing_exchange: Scalar,
    sec_type: Scalar,
    scan_data: Scalar,
}

impl ScanAnswer {
    pub(crate) fn into_hits(self) -> Result<Vec<ScanHit>, BrokerError> {
        self.contracts.into_iter().take(MAX_HITS).map(HitRow::into_hit).collect()
    }
}

impl HitRow {
    fn into_hit(self) -> Result<ScanHit, BrokerError> {
        let conid = self.con_id.conid().or_else(|| self.conidex.conid());
        let name = self.company_name.named().or_else(|| self.contract_description_1.named());
        Ok(ScanHit {
            conid: conid.ok_or(unreadable("contract id of a scan's hit"))?,
            symbol: self.symbol.shown(),
            name: name.unwrap_or_default(),
            class: self.sec_type.as_str().and_then(AssetClass::parse),
            listing_exchange: self.listing_exchange.shown(),
            value: self.scan_data.untrusted(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_flattened_and_bounded_in_depth() {
        let json = r#"{"scan_type_list":[{"display_name":"Top % Gainers","code":"TOP_PERC_GAIN",
            "instruments":["STK","FUT.US"]},{"display_name":"no code"}],
            "instrument_list":[{"display_name":"US Stocks","type":"STK","filters":["a"]}],
            "filter_list":[{"group":"g","display_name":"Price Above","code":"priceAbove",
            "type":"NON-RANGE"}],
            "location_tree":[{"display_name":"US","type":"STK.US","locations":[
            {"display_name":"Listed","type":"STK.US.MAJOR","locations":[]}]}]}"#;
        let raw: Parameters = serde_json::from_str(json).unwrap();
        let read = raw.into_parameters(Timestamp::from_millis(5));
        assert_eq!(read.kinds.len(), 1);
        assert_eq!(read.kinds[0].instruments, ["STK", "FUT.US"]);
        let codes: Vec<&str> = read.locations.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, ["STK.US", "STK.US.MAJOR"]);
        assert_eq!(read.filters[0].0, "priceAbove");
        let deep = r#"{"type":"A","locations":["#.repeat(40) + &"]}".repeat(40);
        let raw: Parameters =
            serde_json::from_str(&format!(r#"{{"location_tree":[{deep}]}}"#)).unwrap();
        assert_eq!(raw.into_parameters(Timestamp::from_millis(5)).locations.len(), 8);
    }

    #[test]
    fn the_body_has_the_documented_names_and_exact_numbers() {
        let request = ScanRequest {
            code: "TOP_PERC_GAIN".to_owned(),
            instrument: "STK".to_owned(),
            location: "STK.US.MAJOR".to_owned(),
            filters: vec![("priceAbove".to_owned(), dec!(5.10))],
        };
        let body = String::from_utf8(run_body(&request).unwrap()).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"instrument":"STK","type":"TOP_PERC_GAIN","location":"STK.US.MAJOR","#,
                r#""filter":[{"code":"priceAbove","value":5.1}]}"#
            )
        );
    }

    #[test]
    fn hits_keep_the_brokers_order() {
        let json = r#"{"contracts":[{"server_id":"0","symbol":"NVDA","conidex":"4815747",
            "con_id":4815747,"company_name":"NVIDIA CORP","scan_data":"+9.772%",
            "contract_description_1":"NVDA","listing_exchange":"NASDAQ.NMS","sec_type":"STK"},
            {"symbol":"X","con_id":"7"}],"scan_data_column_name":"Chg%"}"#;
        let raw: ScanAnswer = serde_json::from_str(json).unwrap();
        let hits = raw.into_hits().unwrap();
        assert_eq!(hits.len(), 2);
        assert_eq!(hits[0].value.as_ref().unwrap().as_str(), "+9.772%");
        assert_eq!(hits[0].class, Some(AssetClass::Stock));
        let broken: ScanAnswer = serde_json::from_str(r#"{"contracts":[{"symbol":"X"}]}"#).unwrap();
        assert!(broken.into_hits().is_err());
    }
}
