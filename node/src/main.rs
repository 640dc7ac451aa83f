//! The program `orlop-node`, which PID 1 and its units call. What it has to say goes to stderr, a
//! line each. Called by the name of a CNI plugin, or of a program of kubelet's, it is that.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    if Path::new(&called).file_name() == Some(node::port_map::NAME.as_ref()) {
        return node::port_map::main();
    }
    let arguments: Vec<_> = arguments.collect();
    if let Some(code) = node::applets::run(&called, &arguments) {
        return code;
    }
    match node::command::run(arguments.into_iter()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("orlop-node: {line}");
            }
            ExitCode::from(failure.status())
        }
    }
}
