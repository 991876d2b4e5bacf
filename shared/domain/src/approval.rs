//! What an operator's approval covers, as bytes, and the text that is signed for them.
//!
//! The bytes are `ibkr-agent-approval/v1`: one `key=value` line for each field in the table of
//! [`ApprovalTerms`], in that order; an absent field is an absent line. No value holds a line feed,
//! so different terms never share bytes. The signature is over [`ApprovalTerms::signed_text`],
//! which names the bytes by their digest: whoever has the public key, the bytes and the signature
//! can check all three, now or in ten years. A change of this format is a new version.
//!
//! Not here: keys and cryptography, and whether the key that signed may approve anything.

use crate::{
    AccountId, Actor, ApprovalId, BrokerName, Digest, Door, InvalidId, Mode, Money, OperatorKeyId,
    PreviewId, SidecarId, Timestamp, Untrusted,
};
use core::fmt;
use rust_decimal::Decimal;

/// Hexadecimal digits of a key's id.
const KEY_ID_DIGITS: usize = 16;

/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// The id of an operator's public key: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn operator_key_id(public_key: &[u8; 32]) -> OperatorKeyId {
    let digits: String = Digest::of(public_key).to_string().chars().take(KEY_ID_DIGITS).collect();
    match OperatorKeyId::parse(&digits) {
        Ok(id) => id,
        Err(_) => unreachable!("hexadecimal digits make an id"),
    }
}

/// An Ed25519 signature by an operator's key; shown as lower-case hexadecimal. Public, and proved
/// by nothing until it is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorSignature([u8; SIGNATURE_BYTES]);

impl OperatorSignature {
    /// Wraps the 64 bytes of a signature.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }

    /// Parses 128 hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId::new("OperatorSignature", SIGNATURE_BYTES * 2, "hexadecimal digits");
        let half = text.len() / 2;
        let (first, second) = text.split_at_checked(half).ok_or_else(invalid)?;
        let (first, second) = (Digest::parse(first), Digest::parse(second));
        let (first, second) = (first.map_err(|_| invalid())?, second.map_err(|_| invalid())?);
        let mut bytes = [0_u8; SIGNATURE_BYTES];
        for (slot, byte) in bytes.iter_mut().zip(first.as_bytes().iter().chain(second.as_bytes())) {
            *slot = *byte;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for OperatorSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for OperatorSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorSignature({self})")
    }
}

/// What follows when the operator has said yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum OnApproval {
    /// Nothing: whoever asked spends the approval.
    #[default]
    Hold,
    /// The gateway reads the market anew, runs every gate and sends the order, once, at once.
    Submit,
}

impl OnApproval {
    /// Our name, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Submit => "submit",
        }
    }

    /// Parses our name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Hold, Self::Submit].into_iter().find(|what| what.as_str() == text)
    }
}

/// Everything that an approval is good for: one order, here, asked by this caller, on these facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalTerms {
    /// Digest of the canonical bytes of what is approved.
    pub action: Digest,
    /// The installation that may act on it.
    pub sidecar: SidecarId,
    /// Simulated, paper or live: a yes in one is worth nothing in another.
    pub mode: Mode,
    /// The broker login.
    pub broker: BrokerName,
    /// The mode that the broker itself reports for the account, where it does.
    pub broker_mode: Option<Mode>,
    /// The account.
    pub account: AccountId,
    /// Who asked.
    pub requester: Actor,
    /// Whose it is, where that isn't who asked: an operator took the preview of this caller.
    pub owner: Option<String>,
    /// Through which door.
    pub door: Door,
    /// The approval.
    pub approval: ApprovalId,
    /// The preview that was shown.
    pub preview: PreviewId,
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of every limit of it.
    pub policy_hash: Digest,
    /// The market price as shown, in the order's currency.
    pub reference_price: Option<Decimal>,
    /// When that price was read.
    pub reference_time: Option<Timestamp>,
    /// How far the market may move from it, in percent.
    pub max_drift_percent: Decimal,
    /// The position as shown.
    pub position: Decimal,
    /// The order's value as shown.
    pub exposure: Option<Money>,
    /// The warnings as shown, in their order.
    pub warnings: Vec<String>,
    /// What follows a yes.
    pub on_approval: OnApproval,
    /// Why, in the words of who asked.
    pub reason: Option<Untrusted>,
    /// A value of no meaning that no other approval has.
    pub nonce: Digest,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The last moment before which it can be spent.
    pub not_after: Timestamp,
}

impl ApprovalTerms {
    /// The one table of fields. Taken apart by name, so that a new field can't be left out.
    fn fields(&self) -> Vec<(&'static str, Option<String>)> {
        let Self {
            action,
            sidecar,
            mode,
            broker,
            broker_mode,
            account,
            requester,
            owner,
            door,
            approval,
            preview,
            policy,
            policy_hash,
            reference_price,
            reference_time,
            max_drift_percent,
            position,
            exposure,
            warnings,
            on_approval,
            reason,
            nonce,
            created_at,
            not_after,
        } = self;
        let [kind, issuer, subject, client, key] = requester_fields(requester);
        let number = |value: &Decimal| value.normalize().to_string();
        vec![
            ("action", Some(action.to_string())),
            ("sidecar", Some(sidecar.to_string())),
            ("mode", Some(mode.to_string())),
            ("broker", Some(broker.to_string())),
            ("broker_mode", broker_mode.map(|mode| mode.to_string())),
            ("account", Some(account.to_string())),
            ("requester", kind),
            ("issuer", issuer),
            ("subject", subject),
            ("client", client),
            ("operator_key", key),
            ("owner", owner.clone()),
            ("door", Some(door.as_str().to_owned())),
            ("approval", Some(approval.to_string())),
            ("preview", Some(preview.to_string())),
            ("policy", Some(policy.clone())),
            ("policy_hash", Some(policy_hash.to_string())),
            ("reference_price", reference_price.as_ref().map(number)),
            ("reference_time", reference_time.map(|time| time.to_string())),
            ("max_drift_percent", Some(number(max_drift_percent))),
            ("position", Some(number(position))),
            ("exposure", exposure.as_ref().map(|money| number(&money.amount))),
            ("exposure_currency", exposure.as_ref().map(|money| money.currency.to_string())),
            ("warnings", Some(warnings_digest(warnings).to_string())),
            ("on_approval", Some(on_approval.as_str().to_owned())),
            ("reason", reason.as_ref().map(ToString::to_string)),
            ("nonce", Some(nonce.to_string())),
            ("created", Some(created_at.to_string())),
            ("not_after", Some(not_after.to_string())),
        ]
    }

    /// The bytes that the approval covers.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = String::from("ibkr-agent-approval/v1\n");
        for (key, value) in self.fields() {
            let Some(value) = value else { continue };
            text.push_str(key);
            text.push('=');
            push_escaped(&mut text, &value);
            text.push('\n');
        }
        text.into_bytes()
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes())
    }

    /// The text that an operator's key signs for approval bytes of this digest. No other text that
    /// such a key signs begins like it.
    #[must_use]
    pub fn signed_text(digest: &Digest) -> String {
        format!("ibkr-agent-approval-signature/v1\n{digest}\n")
    }
}

/// Kind, issuer, subject, client, key.
fn requester_fields(actor: &Actor) -> [Option<String>; 5] {
    let kind = |name: &str| Some(name.to_owned());
    match actor {
        Actor::Local { client } => [kind("local"), None, None, Some(client.to_string()), None],
        Actor::Token { issuer, subject, client } => [
            kind("token"),
            Some(issuer.clone()),
            Some(subject.to_string()),
            Some(client.to_string()),
            None,
        ],
        Actor::Unauthenticated { claimed } => {
            [kind("unauthenticated"), None, None, Some(claimed.to_string()), None]
        }
        Actor::Operator { key } => {
            [kind("operator"), None, None, None, key.as_ref().map(ToString::to_string)]
        }
        Actor::System => [kind("system"), None, None, None, None],
    }
}

/// Each with its length, so that no two lists share a digest.
fn warnings_digest(warnings: &[String]) -> Digest {
    let lines = warnings.iter().map(|warning| format!("{}\n{warning}\n", warning.len()));
    Digest::of(lines.collect::<String>().as_bytes())
}

/// No value ends its line early.
fn push_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            c => text.push(c),
        }
    }
}
