//! The program `orlop-node`, which PID 1 and its units call.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("usage: orlop-node configure | import-images | stop-pods");
    ExitCode::from(2)
}
