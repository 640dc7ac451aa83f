//! Outputs in every state of their place, on file systems of every kind.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::durable::testing::{asked, refusing};
use crate::step::{Inputs, Kind};

/// A directory for outputs, and a store.
struct World {
    directory: TempDir,
    store: Store,
}

fn report(version: &str) -> Report {
    let text = format!(
        r#"{{ "schema": {}, "image": "tiny", "version": "{version}", "kernel": "6.0",
             "root": {{ "hash": "{}", "salt": "", "data-size": 1, "size": 1, "paths": 1 }},
             "command-line": "", "components": {{}}, "dropped": {{}},
             "packages": {{}}, "uki-size": 1, "initrd-size": 1, "disk-size": 1,
             "artifacts": [{{ "kind": "disk", "name": "disk.raw", "size": 1 }},
                           {{ "kind": "root", "name": "root.img", "size": 1 }}] }}"#,
        crate::build::report::SCHEMA,
        Sha256::of(version)
    );
    Report::parse(text.as_bytes()).unwrap()
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        fs::create_dir(directory.path().join("images")).unwrap();
        Self { directory, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("images").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Builds into `name`: two files that hold the version.
    fn build(&self, name: &str, version: &str) -> Result<Option<String>> {
        self.build_and(name, version, || ())
    }

    /// As `build`; `meanwhile` happens before the new directory is put in its place.
    fn build_and(
        &self,
        name: &str,
        version: &str,
        meanwhile: impl FnOnce(),
    ) -> Result<Option<String>> {
        let path = self.path(name);
        self.build_into(Output::new(&self.store, &path)?, version, meanwhile)
    }

    fn build_into(
        &self,
        output: Output<'_>,
        version: &str,
        meanwhile: impl FnOnce(),
    ) -> Result<Option<String>> {
        let directory = output.begin()?;
        for file in ["disk.raw", "root.img"] {
            fs::write(directory.path().join(file), version).unwrap();
        }
        meanwhile();
        let step = Step::new(Kind::Image, "image", Inputs::new().with("version", version));
        output.publish(directory, &step, &report(version))
    }

    /// All files below the place of the images, with their contents; reports are their versions.
    fn all(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut waiting = vec![self.path("")];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    waiting.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap_or_default();
                let text = Report::parse(text.as_bytes()).map_or(text, |report| report.version);
                let name = path.strip_prefix(self.path("")).unwrap().to_str().unwrap();
                all.insert(name.to_owned(), text);
            }
        }
        all
    }
}

fn files(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn whole(version: &str) -> BTreeMap<String, String> {
    files(&[("out/build.json", version), ("out/disk.raw", version), ("out/root.img", version)])
}

#[test]
fn a_directory_with_anything_that_no_build_made_is_left_alone_and_the_file_is_named() {
    let real = serde_json::to_string(&report("1")).unwrap();
    let newer = real.replacen("\"schema\":3", "\"schema\":9", 1);
    let outside = real.replace("\"root.img\"", "\"../thesis.txt\"");
    for (report, file, want) in [
        (Some("{}"), "thesis.txt", "`build.json` that is there is not the report of a build"),
        (Some("{\"schema\": 1}"), "disk.raw", "`build.json` that is there is not the report of"),
        (Some("node_modules"), "package.json", "`build.json` that is there is not the report of"),
        (Some(&*newer), "disk.raw", "is of a newer `orlop`: it has schema 9, and this one knows 3"),
        (Some(&*outside), "disk.raw", "`build.json` that is there is not the report of a build"),
        (Some(&*real), "kept.qcow2", "has not made all of it: not `kept.qcow2`"),
        (Some(&*real), ".hidden", "has not made all of it: not `.hidden`"),
        (None, "thesis.txt", "there are files that no build made: `thesis.txt`"),
    ] {
        let world = World::new();
        fs::create_dir(world.path("out")).unwrap();
        if let Some(report) = report {
            world.write("out/build.json", report);
        }
        world.write(&format!("out/{file}"), "mine");
        let before = world.all();
        for error in [vacant(&world.path("out")).unwrap_err(), world.build("out", "2").unwrap_err()]
        {
            assert_eq!(error.id(), Id::OutputInTheWay);
            assert!(error.chain().contains(want), "{}", error.chain());
        }
        assert_eq!(world.all(), before);
    }
}

#[test]
fn a_directory_or_a_link_of_a_files_name_is_not_that_file() {
    let world = World::new();
    world.build("out", "1").unwrap();
    fs::remove_file(world.path("out/disk.raw")).unwrap();
    fs::create_dir(world.path("out/disk.raw")).unwrap();
    world.write("out/disk.raw/mine", "mine");
    let error = world.build("out", "2").unwrap_err();
    assert!(error.chain().ends_with("not `disk.raw`"), "{}", error.chain());
    fs::remove_dir_all(world.path("out/disk.raw")).unwrap();
    symlink("/etc/hostname", world.path("out/disk.raw")).unwrap();
    assert_eq!(world.build("out", "2").unwrap_err().id(), Id::OutputInTheWay);
}

#[test]
fn a_link_stays_and_what_it_leads_to_gets_the_images() {
    let world = World::new();
    symlink("out", world.path("link")).unwrap();
    for version in ["1", "2"] {
        assert_eq!(world.build("link", version).unwrap(), None);
        let mut want = whole(version);
        want.insert("link".to_owned(), String::new());
        assert_eq!(world.all(), want);
        assert_eq!(fs::read_link(world.path("link")).unwrap(), Path::new("out"));
    }
    symlink("loop", world.path("loop")).unwrap();
    assert_eq!(world.build("loop", "1").unwrap_err().id(), Id::OutputInTheWay);
}

#[test]
fn everything_is_on_the_disk_before_it_is_in_its_place() {
    let world = World::new();
    let (result, asked) = asked(|| world.build("out", "1"));
    result.unwrap();
    let contents = ["sync build.json", "sync disk.raw", "sync root.img", "sync .out.partial"]
        .map(str::to_owned);
    assert_eq!(asked[..4], contents);
    assert_eq!(
        asked[4..7],
        ["exchange .out.partial out", "rename .out.partial out", "sync images"]
    );

    let full = |deed: &str| (deed == "sync root.img").then_some(Errno::NOSPC);
    let error = refusing(full, || world.build("out", "2")).unwrap_err();
    assert_eq!(error.id(), Id::Write);
    assert_eq!(world.all(), whole("1"));
}

/// overlayfs does not rename a directory that comes from a lower layer (as in moby#25409), and
/// some file systems exchange nothing at all.
#[test]
fn where_directories_cannot_be_exchanged_or_renamed_the_new_build_is_there_all_the_same() {
    for (exchange, rename) in [
        (Errno::INVAL, None),
        (Errno::NOSYS, None),
        (Errno::XDEV, None),
        (Errno::XDEV, Some(Errno::XDEV)),
        (Errno::BUSY, Some(Errno::BUSY)),
    ] {
        let refuse = move |deed: &str| match deed {
            "exchange .out.partial out" => Some(exchange),
            "rename out .out.old" => rename,
            _ => None,
        };
        let world = World::new();
        if rename.is_some() {
            world.build("out", "0").unwrap();
        }
        for version in ["1", "2", "3"] {
            assert_eq!(refusing(refuse, || world.build("out", version)).unwrap(), None);
            assert_eq!(world.all(), whole(version), "{exchange} {rename:?}");
        }
        assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1, "{exchange} {rename:?}");
    }
}

#[test]
fn an_old_build_that_was_moved_aside_is_put_back_if_the_new_one_cannot_be_moved_in() {
    for (broken, one_by_one) in [
        ("rename .out.partial out", false),
        ("rename build.json build.json", true),
        ("rename root.img root.img", true),
        ("rename disk.raw disk.raw", true),
    ] {
        let world = World::new();
        world.build("out", "1").unwrap();
        // The same request moves a file of the old build out and one of the new build in.
        let count = std::cell::Cell::new(0);
        let refuse = move |deed: &str| match deed {
            "exchange .out.partial out" => Some(Errno::XDEV),
            "rename out .out.old" if one_by_one => Some(Errno::XDEV),
            deed if deed == broken => {
                count.set(count.get() + 1);
                (count.get() == if one_by_one { 2 } else { 1 }).then_some(Errno::NOSPC)
            }
            _ => None,
        };
        let error = refusing(refuse, || world.build("out", "2")).unwrap_err();
        assert_eq!(error.id(), Id::Write, "{broken}");
        assert_eq!(world.all(), whole("1"), "{broken}");
        assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1, "{broken}");
    }
}

/// A power cut between any two requests leaves a directory that the next build takes over.
#[test]
fn files_that_are_moved_one_by_one_are_named_by_the_report_at_any_time() {
    for last in 0..6 {
        let world = World::new();
        world.build("out", "1").unwrap();
        let count = std::cell::Cell::new(0);
        let refuse = move |deed: &str| match deed {
            "exchange .out.partial out" | "rename out .out.old" => Some(Errno::XDEV),
            deed if deed.starts_with("rename") => {
                count.set(count.get() + 1);
                // From here on nothing works: as if there were no more power.
                (count.get() > last).then_some(Errno::IO)
            }
            _ => None,
        };
        refusing(refuse, || world.build("out", "2")).unwrap_err();
        assert!(vacant(&world.path("out")).is_ok(), "after {last} moves: {:?}", world.all());
        world.build("out", "3").unwrap();
        assert_eq!(world.all(), whole("3"));
    }
}

/// Where two names cannot be exchanged, the old build is aside for a moment: if there is no more
/// power then, the next build puts it back, and its own in its place.
#[test]
fn a_build_that_a_power_cut_left_aside_is_put_back_and_replaced_by_the_next_one() {
    for (exchange_only, last) in [(true, 1), (true, 2), (false, 1), (false, 2), (false, 4)] {
        let world = World::new();
        world.build("out", "1").unwrap();
        let count = std::cell::Cell::new(0);
        let refuse = move |deed: &str| match deed {
            "exchange .out.partial out" => Some(Errno::XDEV),
            "rename out .out.old" if !exchange_only => Some(Errno::XDEV),
            deed if deed.starts_with("rename") => {
                count.set(count.get() + 1);
                // From here on nothing works: as if there were no more power.
                (count.get() > last).then_some(Errno::IO)
            }
            _ => None,
        };
        // What `orlop` removes on its way out, a power cut leaves.
        let aside = || {
            let entries = fs::read_dir(world.path("")).unwrap();
            entries.filter(|e| e.as_ref().unwrap().file_name() != "out").count()
        };
        let result = refusing(refuse, || world.build("out", "2"));
        let before = world.all();
        if exchange_only && last == 1 {
            assert_eq!((result.unwrap_err().id(), aside()), (Id::Write, 1));
            assert!(!world.path("out").exists());
            let path = world.path("out");
            drop(Output::new(&world.store, &path).unwrap().begin().unwrap());
            assert_eq!(world.all(), whole("1"), "{before:?}");
        }
        world.build("out", "3").unwrap();
        assert_eq!(world.all(), whole("3"), "after {last} moves: {before:?}");
        assert_eq!(aside(), 0, "after {last} moves: {before:?}");
    }
}

/// Killed between its last two steps: the images are those that are wanted, and the older ones are
/// aside.
#[test]
fn what_a_killed_build_left_aside_goes_with_one_that_has_nothing_to_do() {
    let world = World::new();
    world.build("out", "2").unwrap();
    let before = world.all();
    fs::create_dir(world.path(".out.old-killed")).unwrap();
    world.write(".out.old-killed/disk.raw", "1");
    let step = Step::new(Kind::Image, "image", Inputs::new().with("version", "2"));
    let path = world.path("out");
    assert!(Output::new(&world.store, &path).unwrap().holds(&step).is_some());
    assert_eq!(world.all(), before);
    assert!(!world.path(".out.old-killed").exists());
}

#[test]
fn what_another_build_has_aside_and_what_no_build_made_stays_there() {
    let world = World::new();
    world.build("out", "2").unwrap();
    for name in [".out.old-inuse1", ".out.old-thesis", ".out.old-mixed1"] {
        fs::create_dir(world.path(name)).unwrap();
        for file in ["disk.raw", "root.img"] {
            world.write(&format!("{name}/{file}"), "1");
        }
    }
    world.write(".out.old-thesis/thesis.txt", "mine");
    fs::create_dir(world.path(".out.old-mixed1/vmlinuz")).unwrap();
    let lock = lock(&world.path(".out.old-inuse1")).unwrap();
    let before = world.all();
    world.build("out", "2").unwrap();
    assert_eq!(world.all(), before);
    drop(lock);
    world.build("out", "2").unwrap();
    assert!(!world.path(".out.old-inuse1").exists());
    assert_eq!(world.all().len(), before.len() - 2);
}

#[test]
fn what_somebody_puts_there_while_the_build_is_put_in_its_place_is_kept() {
    let world = World::new();
    world.build("out", "1").unwrap();
    let late = world.path("out/late");
    // After the last look, before the exchange.
    let write = move |deed: &str| {
        if deed == "exchange .out.partial out" {
            fs::write(&late, "mine").unwrap();
        }
        None
    };
    let warning = refusing(write, || world.build("out", "2")).unwrap().unwrap();
    let kept = warning.rsplit('`').nth(1).unwrap().to_owned();
    assert!(kept.contains("/out.kept-"), "{warning}");
    assert_eq!(fs::read_to_string(format!("{kept}/late")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(world.path("out/disk.raw")).unwrap(), "2");
}

#[test]
fn what_is_named_like_an_interrupted_build_and_is_none_is_not_swept() {
    let world = World::new();
    for name in [".out.partial-mine12", ".out.partial-dead12", ".out.partial-backup-of-may"] {
        fs::create_dir(world.path(name)).unwrap();
    }
    world.write(".out.partial-mine12/thesis.txt", "mine");
    world.write(".out.partial-dead12/disk.raw", "half");
    world.write(".out.partial-backup-of-may/disk.raw", "mine");
    world.build("out", "1").unwrap();
    let mut want = whole("1");
    want.insert(".out.partial-mine12/thesis.txt".to_owned(), "mine".to_owned());
    want.insert(".out.partial-backup-of-may/disk.raw".to_owned(), "mine".to_owned());
    assert_eq!(world.all(), want);
    assert!(!world.path(".out.partial-dead12").exists());
}

#[test]
fn a_build_that_is_given_up_leaves_nothing() {
    let world = World::new();
    world.build("out", "1").unwrap();
    let late = world.path("out/late");
    let error = world.build_and("out", "2", || fs::write(late, "mine").unwrap()).unwrap_err();
    assert_eq!(error.id(), Id::OutputInTheWay);
    let mut want = whole("1");
    want.insert("out/late".to_owned(), "mine".to_owned());
    assert_eq!(world.all(), want);
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1);
}

/// As where something is mounted, or where the directory above belongs to somebody else.
#[test]
fn a_directory_that_must_keep_its_place_is_filled_from_within() {
    let world = World::new();
    let place = world.path("out");
    fs::create_dir(&place).unwrap();
    let inode = fs::metadata(&place).unwrap().ino();
    // As users name it: from where they are.
    let up =
        std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
    let relative = up.join(place.strip_prefix("/").unwrap());
    for (version, place) in [("1", &place), ("2", &relative), ("3", &relative)] {
        let inside = Beside::choose(place, true);
        let output =
            Output { store: &world.store, shown: place, place: place.clone(), beside: inside };
        let (result, asked) = asked(|| world.build_into(output, version, || ()));
        result.unwrap();
        assert!(asked.iter().all(|deed| !deed.starts_with("exchange")), "{asked:?}");
        assert_eq!(world.all(), whole(version));
        assert_eq!(fs::read_dir(place).unwrap().count(), 3);
        assert_eq!(fs::metadata(place).unwrap().ino(), inode, "it is the same directory");
    }
}

#[test]
fn the_longest_name_that_a_file_system_takes_is_one_for_an_output() {
    let world = World::new();
    let name = "\u{e4}".repeat(127);
    for version in ["1", "2"] {
        assert_eq!(world.build(&name, version).unwrap(), None);
    }
    assert_eq!(fs::read_dir(world.path("")).unwrap().count(), 1);
}

#[test]
fn a_file_that_somebody_changed_is_seen_even_if_its_time_was_put_back() {
    let world = World::new();
    world.build("out", "1").unwrap();
    let step = Step::new(Kind::Image, "image", Inputs::new().with("version", "1"));
    let path = world.path("out");
    let output = Output::new(&world.store, &path).unwrap();
    assert!(output.holds(&step).is_some());

    let image = path.join("root.img");
    let before = fs::metadata(&image).unwrap().modified().unwrap();
    // A file system's clock goes in steps: until it has moved, no change can be seen.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while output.holds(&step).is_some() {
        assert!(std::time::Instant::now() < deadline, "the change is not seen");
        fs::write(&image, "2").unwrap();
        fs::File::options().write(true).open(&image).unwrap().set_modified(before).unwrap();
    }
}
