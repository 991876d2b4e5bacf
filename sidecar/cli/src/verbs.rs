//! What the verbs do. [`tool`] maps the verbs that are tool calls; the others have a file each.

pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod doctor;
pub(crate) mod gateway;
pub(crate) mod halt;
pub(crate) mod ids;
pub(crate) mod local;
pub(crate) mod mcp;
pub(crate) mod operator;
pub(crate) mod orders;
pub(crate) mod policy;
pub(crate) mod sidecar;
pub(crate) mod simulator;
pub(crate) mod tool;
pub(crate) mod watch;
