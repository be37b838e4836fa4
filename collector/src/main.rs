//! Parses the arguments, starts the log, calls one command and returns its exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use collector::cli::{self, Arguments};
use site::Mistakes;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Wrong usage ends here with code 2, help and version with 0.
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match cli::execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            // Mistakes begin with file and line, where people and editors look for them.
            if error.is::<Mistakes>() {
                eprintln!("{error}");
            } else {
                eprintln!("collector: {error:#}");
            }
            ExitCode::from(1)
        }
    }
}
