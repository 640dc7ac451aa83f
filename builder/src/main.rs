//! The `orlop` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    builder::cli::main()
}
