//! The binary `ibkr-agent-remote`: one call into the library.

fn main() -> std::process::ExitCode {
    ibkr_agent_remote::cli::main()
}
