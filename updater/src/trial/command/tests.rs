//! The units of a trial, on a node whose files are in a directory.

use std::os::unix::fs::symlink;

use formats::trial::Note;

use super::*;
use crate::trial::note::tests::note_of;

const STATE: &str = "/var/lib/kubelet/dra_manager_state";

/// The release of this name runs.
fn node(own: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    boot(root.path(), own);
    root
}

fn boot(root: &Path, own: &str) {
    let line = format!("ro orlop.root=pmem:0 orlop.roothash={}\n", Sha256::of(own));
    write(root, "/proc/cmdline", &line);
}

fn write(root: &Path, path: &str, text: &str) {
    let path = below(root, path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Notes what it is told.
#[derive(Default)]
struct Noted(Vec<String>);

const PUT_OFF: &str = "it is put off";

impl Slots for Noted {
    fn promote(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn fail(&mut self, reason: &str) -> Result<(), String> {
        self.0.push(reason.to_owned());
        Ok(())
    }

    fn put_off(&mut self) -> Result<(), String> {
        self.0.push(PUT_OFF.to_owned());
        Ok(())
    }

    fn interrupt(&mut self) -> Result<(), String> {
        Ok(())
    }
}

fn before(root: &Path) -> (Result<(), String>, Vec<String>) {
    before_and(root, &mut |_| None)
}

fn before_and(root: &Path, begin: &mut Begin<'_>) -> (Result<(), String>, Vec<String>) {
    let mut slots = Noted::default();
    let ended = before_with(root, &mut slots, begin);
    assert_eq!(slots.0.len(), usize::from(ended.0.is_err()));
    assert!(!slots.0.iter().any(|told| told == PUT_OFF));
    ended
}

fn before_with(
    root: &Path,
    slots: &mut Noted,
    begin: &mut Begin<'_>,
) -> (Result<(), String>, Vec<String>) {
    let mut lines = Vec::new();
    let mut say = |line: &str| lines.push(line.to_owned());
    let result = before_containerd(root, slots, begin, &mut say);
    (result, lines)
}

#[test]
fn a_boot_without_a_trial_is_left_alone() {
    let node = node("old");
    assert_eq!(before(node.path()), (Ok(()), vec![]));
    assert!(!below(node.path(), PROBLEMS).exists());
}

#[test]
fn databases_are_copied_in_a_trial_and_put_back_and_told_after_a_fall_back() {
    let node = node("new");
    let root = node.path();
    note::write(root, &note_of("new")).unwrap();
    write(root, STATE, "old");
    let copied = "1 databases (3 bytes) were copied before the trial".to_owned();
    assert_eq!(before(root), (Ok(()), vec![copied]));
    write(root, STATE, "new");
    boot(root, "old");
    let outcome = Outcome {
        root_hash: Sha256::of("new"),
        verdict: Verdict::Unhealthy,
        reason: "kubelet: refused after 300 s".into(),
    };
    note::write_outcome(root, &outcome).unwrap();
    let want = [
        "release 1.2 was tried and failed: it was not healthy: kubelet: refused after 300 s",
        "1 databases of containerd and kubelet are as before the trial",
    ];
    assert_eq!(before(root), (Ok(()), want.map(str::to_owned).to_vec()));
    assert_eq!(fs::read_to_string(below(root, STATE)).unwrap(), "old");
    let told = fs::read_to_string(below(root, format!("{PROBLEMS}/databases"))).unwrap();
    assert_eq!(told, want.join("\n") + "\n");
}

#[test]
fn after_a_fall_back_the_screen_says_what_meta_does_once_the_databases_are_back() {
    let node = node("new");
    let root = node.path();
    note::write(root, &note_of("new")).unwrap();
    write(root, STATE, "old");
    assert_eq!(before(root).0, Ok(()));
    write(root, STATE, "new");
    boot(root, "old");
    let (result, lines) = before_and(root, &mut |say| {
        assert_eq!(fs::read_to_string(below(root, STATE)).unwrap(), "old");
        say("META is slow");
        Some("release 1.2 was left: so".to_owned())
    });
    let restored = "1 databases of containerd and kubelet are as before the trial";
    let want = ["release 1.2 was left: so", restored].map(str::to_owned);
    assert_eq!(result, Ok(()));
    assert_eq!(lines[0], "META is slow");
    assert_eq!(lines[1..], want);
    let told = fs::read_to_string(below(root, format!("{PROBLEMS}/databases"))).unwrap();
    assert_eq!(told, want.join("\n") + "\n");
}

#[test]
fn a_trial_whose_databases_cannot_be_copied_has_failed_and_containerd_does_not_start() {
    let node = node("new");
    let root = node.path();
    note::write(root, &note_of("new")).unwrap();
    // Where the copy is to be made something else is.
    write(root, "/var/lib/orlop/.before-trial.begun/x/y", "");
    write(root, "/var/lib/orlop/before-trial", "");
    let (result, _) = before(root);
    assert!(result.is_err(), "its unit would be done");
    let outcome = note::outcome(root).unwrap().unwrap();
    assert_eq!(outcome.verdict, Verdict::Unhealthy);
    assert!(outcome.reason.starts_with("the databases could not be copied: "), "{outcome:?}");
}

#[test]
fn a_node_that_has_too_much_to_copy_puts_the_trial_off_and_the_release_has_not_failed() {
    let node = node("new");
    let root = node.path();
    note::write(root, &note_of("new")).unwrap();
    write(root, STATE, "");
    let state = fs::File::options().write(true).open(below(root, STATE)).unwrap();
    state.set_len(snapshot::copy::MOST_BYTES + 1).unwrap();
    let mut slots = Noted::default();
    let (result, _) = before_with(root, &mut slots, &mut |_| None);
    assert!(result.is_err(), "its unit would be done");
    assert_eq!(slots.0, [PUT_OFF]);
    assert_eq!(note::outcome(root).unwrap().unwrap().verdict, Verdict::Interrupted);
    boot(root, "old");
    let fell_back = ended::fall_back(root, Sha256::of("old")).unwrap().unwrap();
    let why = "it was interrupted: the databases could not be copied: the databases of \
               containerd and kubelet have 268435457 bytes, more than 268435456";
    assert_eq!((fell_back.kind, fell_back.reason.as_str()), (Kind::Interrupted, why));
}

#[test]
fn the_root_that_runs_is_that_of_the_command_line() {
    let node = node("new");
    assert_eq!(own_root_hash(node.path()), Ok(Sha256::of("new")));
    write(node.path(), "/proc/cmdline", "ro\n");
    let told = own_root_hash(node.path()).unwrap_err();
    assert!(told.contains("lacks `orlop.roothash`"), "{told}");
}

#[test]
fn a_healthy_release_on_a_full_disk_is_put_off_and_has_not_failed() {
    let node = node("new");
    let root = node.path();
    let mounts =
        "21 1 253:0 / / ro - erofs /dev/dm-0 ro\n28 21 254:5 / /var rw - ext4 /dev/vda5 rw\n";
    write(root, "/proc/self/mountinfo", mounts);
    write(root, "/sys/dev/block/253:0/dm/name", "orlop-root\n");
    note::write(root, &Note { kubelet: false, ..note_of("new") }).unwrap();
    // Where the outcome is written there is no room.
    symlink("/dev/full", below(root, "/var/lib/orlop/.trial-outcome.new")).unwrap();
    for deadline in [Duration::from_secs(60), Duration::ZERO] {
        let mut slots = Noted::default();
        let settings = Settings { deadline, node_ready: false };
        // A directory of a test has no PID 1.
        trial(root, settings, None, &mut slots, &mut |_| {}).unwrap_err();
        assert_eq!(slots.0, [PUT_OFF], "{deadline:?}");
    }
}

#[test]
fn what_cannot_be_put_back_is_tried_again_with_its_note_and_what_is_damaged_is_not() {
    let node = node("new");
    let root = node.path();
    note::write(root, &note_of("new")).unwrap();
    write(root, STATE, "old");
    assert_eq!(before(root).0, Ok(()));
    // Something that no file can take the place of.
    let place = below(root, STATE);
    fs::remove_file(&place).unwrap();
    write(root, &format!("{STATE}/x"), "");
    boot(root, "old");
    let (old, told) =
        (Sha256::of("old"), "the databases of before the trial could not be put back: ");
    let (result, lines) = before(root);
    assert_eq!(result, Ok(()));
    assert!(lines[1].starts_with(told) && lines[1].ends_with("; the next restart tries it again"));
    assert!(snapshot::is_due(root, old).unwrap());
    fs::remove_dir_all(&place).unwrap();
    assert!(before(root).1[1].ends_with("are as before the trial"));
    assert_eq!(fs::read_to_string(&place).unwrap(), "old");
    assert!(!snapshot::is_due(root, old).unwrap());

    boot(root, "new");
    assert_eq!(before(root).0, Ok(()));
    write(root, "/var/lib/orlop/before-trial/0", "bad");
    boot(root, "old");
    let lines = before(root).1;
    assert!(lines[1].starts_with(told) && lines[1].ends_with("; the copy is removed"), "{lines:?}");
    assert!(!snapshot::is_due(root, old).unwrap());
}
