//! Synthetic traffic (a stub with its door; the generator itself is being built).

use std::process::ExitCode;

/// What to send.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Sends it.
pub fn run(_args: Args) -> ExitCode {
    ExitCode::FAILURE
}
