//! Node configurations: any text is read or refused with places in it, and what is read can be
//! printed and read again.

#![no_main]

use std::path::Path;

use formats::node_config::{Secrets, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for text in [text, &format!("schema = 1\n{text}")] {
        match parse(text) {
            Ok(config) => assert_eq!(parse(&config.to_toml(Secrets::Shown)), Ok(config)),
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    problem.excerpt(Path::new("node.toml"), text);
                }
            }
        }
    }
});
