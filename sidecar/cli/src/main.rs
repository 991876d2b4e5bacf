//! The `ibkr-agent` binary: one call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ibkr_agent_cli::main_with_args(std::env::args_os(), &|name| std::env::var(name).ok())
}
