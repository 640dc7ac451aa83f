//! Crates of a private registry, whose token stands in the environment as every CI gives it.

use std::path::PathBuf;

use builder::process::Command;
use formats::digest::Sha256;

use crate::project::{Project, start};
use crate::server::Answer;

/// What must be shown nowhere.
const TOKEN: &str = "c2VjcmV0-token";

/// A project with a Cargo component that wants the crate `ours` of the registry `corp`.
fn project() -> (Project, Vec<u8>) {
    let project = Project::new();
    let url = project.server.url();
    let archive = archive();
    let checksum = Sha256::of(&archive);
    let config = format!(r#"{{"dl":"{url}/dl","auth-required":true}}"#);
    let entry = format!(
        "{{\"name\":\"ours\",\"vers\":\"1.0.0\",\"deps\":[],\"features\":{{}},\"cksum\":\"{checksum}\"}}\n"
    );
    for (path, file) in [
        ("/index/config.json", config.into_bytes()),
        ("/index/ou/rs/ours", entry.into_bytes()),
        ("/dl/ours/1.0.0/download", archive.clone()),
    ] {
        project.server.answer(path, Answer::Private(TOKEN, file));
    }
    for (path, text) in [
        ("Cargo.toml", "[workspace]\nmembers = ['tool']\n[profile.node]\ninherits = 'release'\n"),
        (
            ".cargo/config.toml",
            &format!(
                "[registries.corp]\nindex = 'sparse+{url}/index/'\n\
                 [registry]\nglobal-credential-providers = ['cargo:token']\n"
            ),
        ),
        (
            "Cargo.lock",
            &format!(
                "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"1.0.0\"\n\
                 source = \"sparse+{url}/index/\"\nchecksum = \"{checksum}\"\n\n\
                 [[package]]\nname = \"tool\"\nversion = \"0.1.0\"\ndependencies = [\n \"ours\",\n]\n"
            ),
        ),
        (
            "tool/Cargo.toml",
            "[package]\nname = 'tool'\nversion = '0.1.0'\nedition = '2024'\n\
             [dependencies]\nours = { version = '1', registry = 'corp' }\n",
        ),
        ("tool/src/main.rs", "fn main() {}\n"),
    ] {
        project.write(&format!("ws/{path}"), text);
    }
    let recipe = String::from_utf8(project.read("recipe.toml")).unwrap();
    let component = "[cargo.tool]\nworkspace = \"ws\"\npackage = \"tool\"\n\
        [cargo.tool.programs]\ntool = \"/usr/bin/tool\"\n";
    project.write("recipe.toml", format!("{recipe}\n{component}"));
    // The archive has no compiler. Nothing is compiled here.
    project.change("tools = [", "compilers = [\"runc\"]\ntools = [");
    let locked = project.end(start(command(&project, &["lock"], TOKEN)));
    assert_eq!(locked.status, Some(0), "{}", locked.stderr);
    (project, archive)
}

fn archive() -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(gzip);
    let manifest = "[package]\nname = 'ours'\nversion = '1.0.0'\nedition = '2024'\n";
    for (path, text) in [("Cargo.toml", manifest), ("src/lib.rs", "")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("ours-1.0.0/{path}"), text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// `orlop` as in a shell where Cargo works.
fn command(project: &Project, words: &[&str], token: &str) -> Command {
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup")));
    project
        .command(words)
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("RUSTUP_HOME", home.unwrap())
        .env("CARGO_HOME", project.path("cargo-home"))
        .env("CARGO_REGISTRIES_CORP_TOKEN", token)
}

#[test]
fn a_token_of_the_environment_reaches_the_registry_and_crates_the_store() {
    let (project, archive) = project();
    let run =
        |token| project.end(start(command(&project, &["fetch", "--progress", "none"], token)));
    let refused = run("wrong-token");
    assert_eq!(refused.status, Some(6), "{}", refused.stderr);
    assert!(!refused.stderr.contains("wrong-token"), "{}", refused.stderr);
    assert!(refused.stderr.contains("401"), "{}", refused.stderr);

    let fetched = run(TOKEN);
    assert_eq!(fetched.status, Some(0), "{}", fetched.stderr);
    let digest = Sha256::of(&archive).to_string();
    let blob = project.store().join("blobs").join(&digest[..2]).join(&digest);
    assert!(std::fs::read(blob).unwrap() == archive);
    for text in [&refused.stderr, &fetched.stderr] {
        assert!(!text.contains(TOKEN), "{text}");
    }

    // A store that has all asks nobody, and needs no Cargo.
    project.server.take_requests();
    std::fs::remove_dir_all(project.path("cargo-home")).unwrap();
    let again = project.run(&["fetch", "--progress", "none"]);
    assert_eq!((again.status, again.stderr.as_str()), (Some(0), ""));
    assert_eq!(project.server.take_requests(), [""; 0]);
}
