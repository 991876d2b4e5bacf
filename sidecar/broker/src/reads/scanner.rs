//! Scanners. What one can be asked is read once in 15 minutes; a scan is checked against it, since
//! the broker answers a wrong code with a server failure.

use crate::BrokerError;
use crate::client::ClientPortal;
use crate::pacing::Lane;
use crate::transport::Request;
use crate::wire::parse;
use crate::wire::scanner::{Parameters, ScanAnswer, is_code, run_body};
use ibkr_agent_domain::{ScanHit, ScanRequest, ScannerParameters};
use std::sync::Arc;

/// Most filters of one scan.
const MAX_FILTERS: usize = 20;

impl ClientPortal {
    pub(crate) async fn read_scanner_parameters(
        &self,
    ) -> Result<Arc<ScannerParameters>, BrokerError> {
        if let Some(kept) = self.caches().scanners.find(&()) {
            return Ok(kept);
        }
        let request = Request::get("/iserver/scanner/params").lane(Lane::ScannerParameters);
        let answer = self.fetch(&request).await?;
        let raw: Parameters = parse(&answer.body, "scanner parameters")?;
        let read = Arc::new(raw.into_parameters(answer.sent_at));
        if read.kinds.is_empty() {
            return Err(BrokerError::InvalidResponse { what: "scanner parameters" });
        }
        self.caches().scanners.keep((), Arc::clone(&read));
        Ok(read)
    }

    pub(crate) async fn run_scan(
        &self,
        request: &ScanRequest,
    ) -> Result<Vec<ScanHit>, BrokerError> {
        match self.read_scanner_parameters().await {
            Ok(parameters) => check(request, &parameters)?,
            // They were read a moment ago by another process: the form must do.
            Err(BrokerError::RateLimited { .. }) => check_form(request)?,
            Err(error) => return Err(error),
        }
        let ask =
            Request::post("/iserver/scanner/run").json(run_body(request)?).lane(Lane::ScannerRun);
        let answer = self.fetch(&ask).await?;
        parse::<ScanAnswer>(&answer.body, "scan")?.into_hits()
    }
}

fn check_form(request: &ScanRequest) -> Result<(), BrokerError> {
    let codes = [&request.code, &request.instrument, &request.location];
    let mut filters = request.filters.iter().map(|(code, _)| code);
    let is_well_formed = codes.into_iter().all(|code| is_code(code))
        && request.filters.len() <= MAX_FILTERS
        && filters.all(|code| is_code(code));
    if is_well_formed {
        Ok(())
    } else {
        Err(BrokerError::InvalidRequest { what: "codes of a scan" })
    }
}

fn check(request: &ScanRequest, known: &ScannerParameters) -> Result<(), BrokerError> {
    check_form(request)?;
    let refuse = |what| Err(BrokerError::InvalidRequest { what });
    let Some(kind) = known.kinds.iter().find(|kind| kind.code == request.code) else {
        return refuse("there is no such scanner; see the scanner parameters");
    };
    let is_in = |list: &[(String, _)], code: &str| list.iter().any(|(known, _)| known == code);
    if !kind.instruments.contains(&request.instrument) {
        return refuse("this scanner doesn't take that instrument; see the scanner parameters");
    }
    if !is_in(&known.locations, &request.location) {
        return refuse("there is no such location; see the scanner parameters");
    }
    if request.filters.iter().any(|(code, _)| !is_in(&known.filters, code)) {
        return refuse("there is no such filter; see the scanner parameters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibkr_agent_domain::{ScannerKind, Untrusted};

    fn known() -> ScannerParameters {
        let named = |code: &str| (code.to_owned(), Untrusted::new(code));
        ScannerParameters {
            kinds: vec![ScannerKind {
                code: "TOP_PERC_GAIN".to_owned(),
                name: Untrusted::new("Top"),
                instruments: vec!["STK".to_owned()],
            }],
            instruments: vec![named("STK"), named("BOND")],
            locations: vec![named("STK.US.MAJOR")],
            filters: vec![named("priceAbove")],
            as_of: None,
        }
    }

    fn scan(code: &str, instrument: &str, location: &str, filter: &str) -> ScanRequest {
        ScanRequest {
            code: code.to_owned(),
            instrument: instrument.to_owned(),
            location: location.to_owned(),
            filters: vec![(filter.to_owned(), dec!(5))],
        }
    }

    #[test]
    fn a_scan_that_the_broker_does_not_offer_is_refused() {
        let good = scan("TOP_PERC_GAIN", "STK", "STK.US.MAJOR", "priceAbove");
        assert_eq!(check(&good, &known()), Ok(()));
        for bad in [
            scan("NO_SUCH", "STK", "STK.US.MAJOR", "priceAbove"),
            scan("TOP_PERC_GAIN", "BOND", "STK.US.MAJOR", "priceAbove"),
            scan("TOP_PERC_GAIN", "STK", "MOON", "priceAbove"),
            scan("TOP_PERC_GAIN", "STK", "STK.US.MAJOR", "noSuchFilter"),
            scan("", "STK", "STK.US.MAJOR", "priceAbove"),
            scan("TOP PERC", "STK", "STK.US.MAJOR", "priceAbove"),
        ] {
            let refused = check(&bad, &known()).unwrap_err();
            assert_eq!(refused.code().as_str(), "INPUT_INVALID", "{bad:?}");
        }
        let mut many = good;
        many.filters = vec![("priceAbove".to_owned(), dec!(1)); 21];
        assert!(check(&many, &known()).is_err());
    }
}
