//! Arguments of `doctor`.

use clap::Args;

/// What to examine: everything.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Only try whether the calling user reaches this port on loopback; the doctor calls itself so
    /// as another user.
    #[arg(long, hide = true, value_name = "PORT")]
    pub(crate) try_port: Option<u16>,
}
