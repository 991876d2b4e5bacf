//! What only a human may do, and how it is proved.
//!
//! Another type than a tool call, with its own socket: no agent door and no relay frame can name a
//! [`Verb`]. Verbs that add risk or trust need a signature by an enrolled key; verbs that take risk
//! away need none.
//!
//! [`keyring`] checks signatures against the enrolled public keys, [`keys`] keeps the private ones
//! in files, [`socket`] is the sidecar's end of `operator.sock` and [`client`] the operator's.

pub mod client;
pub mod keyring;
pub mod keys;
pub mod socket;
pub mod verb;
mod wire;

pub use client::{OperatorClient, OperatorConnectError};
pub use keyring::{
    EnrolledKey, Keyring, KeyringError, OperatorDomain, OperatorPublicKey, verify_signature,
};
pub use keys::{
    KeyDescription, KeyError, NewKey, OperatorSigner, create_key, describe_key, load_key,
};
pub use socket::{OperatorDoor, open_operator_door, serve_operators};
pub use verb::{Challenge, Proof, Verb, signed_text};
