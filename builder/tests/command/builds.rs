//! Builds that succeed, and what they say.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use expect_test::expect;
use formats::gpt;

use crate::project::{Project, start};

/// What a build leaves in its directory.
const FILES: [&str; 12] = [
    "build.json",
    "cmdline",
    "contents.json",
    "disk.raw",
    "initrd",
    "manifest.txt",
    "provenance.json",
    "root.img",
    "sbom.cdx.json",
    "sbom.spdx.json",
    "uki.efi",
    "vmlinuz",
];

fn listing(project: &Project, directory: &str) -> Vec<String> {
    let entries = fs::read_dir(project.path(directory)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn from_a_recipe_to_images_and_nothing_is_done_twice() {
    let project = Project::new();
    assert_eq!(project.good(&["lock"]).stdout, "orlop.lock\n");
    assert_eq!(project.good(&["check"]).stdout, "`tiny` is in order (recipe.toml)\n");
    assert_eq!(project.good(&["fetch"]).stdout, "");
    assert_eq!(project.server.take_requests().len(), 2 + 5, "two lists and five packages");

    let built = project.good(&["build", "--explain", "--offline"]);
    assert_eq!(built.stdout.lines().last(), Some("orlop-out/tiny"));
    assert!(built.stdout.contains("unpack runc              done, for the first time\n"));
    assert_eq!(listing(&project, "orlop-out/tiny"), FILES);
    assert_eq!(listing(&project, "orlop-out"), ["repo", "tiny"]);
    let disk = project.read("orlop-out/tiny/disk.raw");

    let again = project.good(&["build", "--explain"]);
    for line in again.stdout.lines().filter(|line| *line != "orlop-out/tiny") {
        assert!(line.ends_with(" remembered"), "{line}");
    }
    assert_eq!(again.stdout.lines().count(), 9);
    assert_eq!(again.stderr, "");
    assert!(project.read("orlop-out/tiny/disk.raw") == disk);
    assert_eq!(project.server.take_requests(), [""; 0], "a build with a full store is silent");
}

#[test]
fn an_overlay_file_that_changed_is_the_only_reason_for_work() {
    let project = Project::new();
    project.good(&["build"]);
    project.write("overlay/etc/motd", "goodbye\n");
    let built = project.good(&["build", "--explain"]);
    let done: Vec<_> = built.stdout.lines().filter(|line| line.contains(" done")).collect();
    assert_eq!(
        done,
        [
            "allow                    done, because this changed:",
            "image                    done, because this changed:"
        ]
    );
    assert!(built.stdout.contains("    - tree SHA256\n    + tree SHA256\n"), "{}", built.stdout);
    let manifest = String::from_utf8(project.read("orlop-out/tiny/manifest.txt")).unwrap();
    assert!(manifest.contains("/etc/motd "), "{manifest}");
}

#[test]
fn a_build_makes_its_lock_and_fetches_on_its_own() {
    let project = Project::new();
    let built = project.good(&["build", "-o", "images/one", "--jobs", "1"]);
    assert_eq!(built.stdout, "images/one\n");
    assert!(built.stderr.contains("\nrunc 1.1-1 "), "{}", built.stderr);
    assert!(project.path("orlop.lock").is_file());
}

#[test]
fn results_are_json_on_request() {
    let project = Project::locked();
    let json = |words: &[&str]| -> serde_json::Value {
        let ended = project.good(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.stdout).unwrap()
    };
    assert_eq!(json(&["check"])["locked"], true);
    let built = json(&["build"]);
    assert_eq!(built["output"], "orlop-out/tiny");
    assert_eq!(built["report"]["kernel"], "6.0");
    assert_eq!(built["steps"][0]["outcome"], "first");
    let inspected = json(&["inspect", "orlop-out/tiny"]);
    assert_eq!((&inspected["kind"], &inspected["report"]), (&"build".into(), &built["report"]));
    assert_eq!(json(&["inspect", "orlop-out/tiny/disk.raw"])["kind"], "disk");
    assert_eq!(
        json(&["lock", "--why", "libtiny"])["chains"],
        serde_json::json!([["recipe", "runc", "libtiny"]])
    );
    let lines = project.good(&["build", "-o", "other", "--progress", "json"]).stderr;
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["event"], "done");
}

#[test]
fn the_report_has_every_file_with_its_size_and_digest_and_the_uki_is_that_of_both_slots() {
    let project = Project::locked();
    project.good(&["build"]);
    let report = project.read("orlop-out/tiny/build.json");
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let artifacts = report["artifacts"].as_array().unwrap();
    let names: Vec<_> = artifacts.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, FILES[1..]);
    for file in artifacts {
        let name = file["name"].as_str().unwrap();
        let bytes = project.read(&format!("orlop-out/tiny/{name}"));
        assert_eq!(file["size"], bytes.len(), "{name}");
        let digest = formats::digest::Sha256::of(&bytes).to_string();
        let want = (name != "disk.raw").then_some(digest.as_str());
        assert_eq!(file["sha256"].as_str(), want, "{name}");
    }
    let disk = project.read("orlop-out/tiny/disk.raw");
    let uki = project.read("orlop-out/tiny/uki.efi");
    assert_eq!(uki.len(), 2 << 20);
    let starts = (0..disk.len()).step_by(512).filter(|at| disk[*at..].starts_with(&uki));
    assert_eq!(starts.count(), 2, "it is on the disk once for each slot, byte for byte");
    assert!(report["uki-size"].as_u64().unwrap() < 2 << 20, "that is without the padding");
    let line = project.read("orlop-out/tiny/cmdline");
    assert_eq!(report["command-line"].as_str().unwrap().as_bytes(), line);
    let line = formats::command_line::CommandLine::parse(std::str::from_utf8(&line).unwrap());
    let table = &disk[..usize::try_from(gpt::HEAD_SECTORS * gpt::SECTOR).unwrap()];
    let table = gpt::Table::parse(table, disk.len() as u64 / gpt::SECTOR).unwrap();
    let slots = ["ROOT-A", "ROOT-B"].map(|name| table.partition(name).unwrap().guid);
    assert_eq!(line.unwrap().root, formats::command_line::RootSource::Slots(slots));
}

#[test]
fn an_image_and_its_kernel_are_told_by_inspect() {
    let project = Project::locked();
    project.good(&["build"]);
    let disk = project.good(&["inspect", "orlop-out/tiny/disk.raw"]).stdout;
    for word in ["ROOT-A and ROOT-B", "STATE", "EFI/Linux/2a.efi", "slot          A", "root hash"] {
        assert!(disk.contains(word), "{word} is not in\n{disk}");
    }
    let root = project.good(&["inspect", "orlop-out/tiny/root.img"]).stdout;
    assert!(root.contains("volume        tiny"), "{root}");
    let build = project.good(&["inspect", "orlop-out/tiny"]).stdout;
    assert!(build.contains("\ncomponents, "), "{build}");
    let uki = project.good(&["inspect", "orlop-out/tiny/uki.efi"]).stdout;
    assert!(uki.contains("console=ttyS0"), "{uki}");
}

/// Without them the kernel starts PID 1 with no standard streams, and the runtime aborts.
#[test]
fn the_initrd_brings_the_devices_that_init_needs_before_it_can_make_any() {
    let project = Project::locked();
    project.good(&["build"]);
    let packed = project.read("orlop-out/tiny/initrd");
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut archive).unwrap();
    for (name, numbers) in [("dev/console", "0000000500000001"), ("dev/null", "0000000100000003")] {
        let name = [name.as_bytes(), b"\0"].concat();
        let at = archive.windows(name.len()).position(|bytes| bytes == name);
        // The header of 110 bytes stands before the name; c_rdevmajor is at 78.
        let header = at.and_then(|at| archive.get(at - 110..at)).unwrap();
        assert_eq!(&header[78..94], numbers.as_bytes());
    }
}

#[test]
fn a_profile_shapes_the_image_and_shares_the_lock_if_it_can() {
    let project = Project::locked();
    project.good(&["build", "-p", "debug", "--locked"]);
    let line = String::from_utf8(project.read("orlop-out/tiny/cmdline")).unwrap();
    assert!(line.ends_with(" console=ttyS0 orlop.debug"), "{line}");
    let shown = project.good(&["recipe", "show", "-p", "debug"]).stdout;
    assert!(shown.contains("orlop.debug"), "{shown}");
}

#[test]
fn two_recipes_of_a_folder_share_neither_a_lock_nor_an_output() {
    let project = Project::locked();
    let other = String::from_utf8(project.read("recipe.toml")).unwrap();
    project
        .write("orlop.toml", other.replace(", \"runc\"]", "]").replace("= \"runc\"", "= \"init\""));
    let lock = project.read("orlop.lock");
    project.good(&["build", "--locked"]);
    assert_eq!(project.good(&["lock", "orlop.toml"]).stdout, "orlop.toml.lock\n");
    assert!(project.read("orlop.lock") == lock);
    let report = project.read("orlop-out/tiny/build.json");
    project.refused(&["build", "orlop.toml"], expect![[r#"
        exit 2
        error[E0212]: cannot put the images into `DIR/project/orlop-out/tiny`: those of another recipe of this name are there, `DIR/project/recipe.toml`
          hint: give this recipe a `name` of its own, or name a directory with `--output`
    "#]]);
    assert!(project.read("orlop-out/tiny/build.json") == report);
    project.good(&["build", "orlop.toml", "-o", "other"]);
    project.good(&["build", "--locked"]);

    // A recipe that was renamed is no other one.
    fs::rename(project.path("recipe.toml"), project.path("new.toml")).unwrap();
    fs::rename(project.path("orlop.lock"), project.path("new.lock")).unwrap();
    project.good(&["build", "--locked", "new.toml"]);
}

#[test]
fn a_glob_that_matches_nothing_is_a_warning() {
    let project = Project::new();
    project.change("drop = [", "drop = [\"/usr/share/man/**\", ");
    let built = project.good(&["build"]);
    assert!(
        built
            .stderr
            .contains("warning: `[debian] drop` has `/usr/share/man/**`: it matches nothing"),
        "{}",
        built.stderr
    );
}

/// The root is the same, and yet `build.json` is not: it tells what each glob left out.
#[test]
fn a_report_is_made_again_when_only_what_it_tells_has_changed() {
    let project = Project::locked();
    let report = |project: &Project| -> serde_json::Value {
        project.good(&["build"]);
        serde_json::from_slice(&project.read("orlop-out/tiny/build.json")).unwrap()
    };
    let before = report(&project);
    project.change("/usr/share/doc/**", "/usr/share/do[c]/**");
    let now = report(&project);
    assert_eq!(now["root"], before["root"]);
    assert!(now["dropped"].get("/usr/share/do[c]/**").is_some(), "{now}");
    assert!(now["dropped"].get("/usr/share/doc/**").is_none(), "{now}");
}

#[test]
fn two_builds_at_once_in_one_store_give_the_same_bytes() {
    let project = Project::locked();
    let children = ["one", "two"].map(|output| start(project.command(&["build", "-o", output])));
    for child in children {
        let ended = project.end(child);
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    }
    for name in FILES {
        let [one, two] = ["one", "two"].map(|output| project.read(&format!("{output}/{name}")));
        assert!(one == two, "{name} differs");
    }
}

#[test]
fn two_builds_at_once_into_one_directory_leave_a_whole_one() {
    let project = Project::locked();
    project.good(&["fetch"]);
    let children = [(), ()].map(|()| start(project.command(&["build"])));
    for child in children {
        let ended = project.end(child);
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    }
    assert_eq!(listing(&project, "orlop-out/tiny"), FILES);
    assert_eq!(listing(&project, "orlop-out"), ["repo", "tiny"]);
}

#[test]
fn an_interrupted_fetch_is_resumed_by_the_next_one() {
    use crate::server::Answer;
    let project = Project::locked();
    let runc = project.archive.package("runc");
    let (deb, path) = (runc.deb(), runc.path());
    let half = deb.len() / 2;
    let (release, end) = std::sync::mpsc::channel();
    project.server.answer(&path, Answer::StallOnce(deb.clone(), half, end));
    let mut child = start(project.command(&["fetch"]));
    let partial =
        project.store().join("partial").join(formats::digest::Sha256::of(&deb).to_string());
    let deadline = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&partial).map_or(0, |meta| meta.len()) < half as u64 {
        assert!(Instant::now() < deadline, "the download did not begin");
        assert!(child.try_wait().unwrap().is_none(), "fetch ended although the server stalls");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = child.wait().unwrap();
    drop(release);
    assert_eq!(ended.signal(), Some(rustix::process::Signal::INT.as_raw()));
    assert!(project.server.take_requests().contains(&path));

    project.good(&["fetch"]);
    assert!(project.server.take_requests().contains(&format!("{path} from {half}")));
    assert!(!partial.exists());
    project.good(&["build", "--offline"]);
    project.good(&["store", "verify"]);
}

#[test]
fn links_that_only_a_script_would_make_are_named_with_the_line_that_makes_them() {
    let project = Project::new();
    project.ask_for("tiny-tables");
    let line = "\"/usr/sbin/tables\" = \"/usr/lib/tables/tables-new\"";
    let ended = project.good(&["build", "--progress", "plain"]);
    assert!(ended.stderr.contains(&format!("`[tree.symlinks]`:\n  {line}\n")), "{}", ended.stderr);
    // Also when nothing is unpacked again.
    let again = project.good(&["build", "--progress", "plain"]);
    assert!(again.stderr.contains(line), "{}", again.stderr);
    project.change("[tree.symlinks]\n", &format!("[tree.symlinks]\n{line}\n"));
    let cured = project.good(&["build", "--progress", "plain"]);
    assert!(!cured.stderr.contains("would make links"), "{}", cured.stderr);
}
