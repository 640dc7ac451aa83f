//! The program `orlop-node`, which PID 1 and its units call. What it has to say goes to stderr, a
//! line each.

use std::process::ExitCode;

fn main() -> ExitCode {
    match node::command::run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("orlop-node: {line}");
            }
            ExitCode::from(failure.status())
        }
    }
}
