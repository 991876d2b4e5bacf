//! The human of the story: an operator at the sidecar's own socket, with the simulator's demo key.
//!
//! Every act reads first what it signs. The key is good for the simulator only. The harness's tests
//! use the same human.

use std::path::Path;

use ibkr_agent_domain::Digest;
use ibkr_agent_gateway::app::demo_key_path;
use ibkr_agent_gateway::operator::{
    OperatorClient, OperatorDomain, OperatorSigner, Verb, load_key,
};
use ibkr_agent_protocol::service::ErrorBody;
use serde_json::Value;

use super::identity::{LOGIN_CLIENT, SERVICE_CLIENT, USER};
use super::stack::StackError;
use super::story::{Unexpected, text};

/// An operator who is connected to a sidecar.
#[derive(Debug)]
pub struct Operator {
    client: OperatorClient,
    signer: OperatorSigner,
}

/// The login client as the audit log names it.
#[must_use]
pub fn login_label(issuer: &str) -> String {
    format!("token:{issuer}|{USER}|{LOGIN_CLIENT}")
}

/// The service client as the audit log names it.
#[must_use]
pub fn service_label(issuer: &str) -> String {
    format!("token:{issuer}|{SERVICE_CLIENT}|{SERVICE_CLIENT}")
}

impl Operator {
    /// Connects to the sidecar of a state folder.
    ///
    /// # Errors
    /// [`StackError`] if it doesn't answer or the key can't be read.
    pub async fn connect(folder: &Path) -> Result<Self, StackError> {
        let client = OperatorClient::connect(folder)
            .await
            .map_err(|error| StackError::new("the operator's socket doesn't answer", &error))?;
        let signer = load_key(&demo_key_path(folder), OperatorDomain::Simulator, None)
            .map_err(|error| StackError::new("the demo key can't be read", &error))?;
        Ok(Self { client, signer })
    }

    async fn look(&mut self, verb: Verb) -> Result<Value, Unexpected> {
        Ok(self.client.call(verb, None).await?)
    }

    async fn sign(&mut self, verb: Verb) -> Result<Value, Unexpected> {
        Ok(self.client.call(verb, Some(&self.signer)).await?)
    }

    /// Admits a caller to writes.
    ///
    /// # Errors
    /// [`Unexpected`] with the sidecar's refusal.
    pub async fn admit(&mut self, caller: &str) -> Result<(), Unexpected> {
        self.sign(Verb::Admit { caller: caller.to_owned() }).await.map(drop)
    }

    /// Reads the whole order of an approval and signs what it covers, which sends it where the
    /// approval says so; gives summary and digest of the order.
    ///
    /// # Errors
    /// [`Unexpected`] with the sidecar's refusal, or if it isn't approved after.
    pub async fn approve(&mut self, id: &str) -> Result<(String, String), Unexpected> {
        self.sign_yes(id).await.map(|(summary, digest, _)| (summary, digest))
    }

    /// As [`Operator::approve`]; gives also what followed the signature.
    ///
    /// # Errors
    /// As there.
    pub async fn sign_yes(&mut self, id: &str) -> Result<(String, String, Value), Unexpected> {
        let shown = self.look(Verb::Approval { id: id.to_owned() }).await?;
        let summary = text(&shown, "/order_summary")?.to_owned();
        let digest = text(&shown, "/order_digest")?.to_owned();
        let covered = Digest::parse(text(&shown, "/approval_digest")?)
            .map_err(|error| Unexpected::new(error.to_string()))?;
        let verb = self.signer.approve(id, &covered).map_err(ErrorBody::from)?;
        let done = self.sign(verb).await?;
        match text(&done, "/status")? {
            "approved" | "consumed" => Ok((summary, digest, done)),
            other => Err(Unexpected::new(format!("the approval is {other}"))),
        }
    }

    /// Reads the question that waits and says yes to its text.
    ///
    /// # Errors
    /// [`Unexpected`] if none waits, or with the refusal.
    pub async fn answer_question(&mut self) -> Result<(), Unexpected> {
        let waiting = self.look(Verb::Questions {}).await?;
        let order = text(&waiting, "/questions/0/client_order_id")?.to_owned();
        text(&waiting, "/questions/0/question/text")?;
        let digest = text(&waiting, "/questions/0/question/text_digest")?.to_owned();
        self.sign(Verb::Answer { order, text: digest, confirmed: true }).await.map(drop)
    }

    /// Stops trading.
    ///
    /// # Errors
    /// [`Unexpected`] with the sidecar's refusal.
    pub async fn halt(&mut self, reason: &str) -> Result<(), Unexpected> {
        self.look(Verb::Halt { reason: reason.to_owned() }).await.map(drop)
    }

    /// Allows trading again.
    ///
    /// # Errors
    /// [`Unexpected`] with the sidecar's refusal.
    pub async fn resume(&mut self, reason: &str) -> Result<(), Unexpected> {
        self.sign(Verb::Resume { reason: reason.to_owned() }).await.map(drop)
    }

    /// Verifies the whole log; says what was found.
    ///
    /// # Errors
    /// [`Unexpected`] if the log doesn't verify.
    pub async fn verify_audit(&mut self) -> Result<String, Unexpected> {
        let report = self.look(Verb::AuditVerify {}).await?;
        let size = report.pointer("/size").and_then(Value::as_u64);
        let size = size.filter(|size| *size > 0);
        let size = size.ok_or_else(|| Unexpected::new(format!("no records: {report}")))?;
        let verified = report.pointer("/verified").and_then(Value::as_bool) == Some(true);
        let root = text(&report, "/root")?;
        if !verified || !text(&report, "/checkpoint")?.contains(&size.to_string()) {
            return Err(Unexpected::new(format!("the log doesn't verify: {report}")));
        }
        let short: String = root.chars().take(12).collect();
        Ok(format!("{size} records, root {short}…, signed checkpoint holds"))
    }
}
