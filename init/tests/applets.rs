//! `mount` and `umount` with the kernel, in mount and user namespaces of their own.
#![expect(clippy::disallowed_methods, reason = "runs the binary; PID 1's `process` starts units")]

use std::os::unix::fs::symlink;
use std::process::Command;

/// Runs a shell script whose `mount` and `umount` are ours, in an empty directory. The script
/// ends at the first command that fails; what it prints, standard error included, is the result.
fn script(script: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let applets = directory.path().join("applets");
    std::fs::create_dir(&applets).expect("made");
    for name in ["mount", "umount"] {
        symlink(env!("CARGO_BIN_EXE_init"), applets.join(name)).expect("linked");
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-e", "-c", "exec 2>&1; eval \"$0\"", script])
        .env("PATH", format!("{}:/usr/bin:/bin", applets.display()))
        .current_dir(directory.path())
        .output()
        .expect("unshare is there");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_tmpfs_of_kubelets_is_mounted_and_unmounted() {
    let text = script(
        "mkdir v; mount -t tmpfs -o size=65536,nosuid tmpfs $PWD/v
         grep -o ' /[^ ]*/v .*' /proc/self/mountinfo | sed 's/.* rw,nosuid.* - tmpfs tmpfs.*size=64k.*/good/'
         touch v/file; umount $PWD/v; ls v; umount $PWD/v || echo status $?",
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "good", "{text}");
    assert!(lines[1].starts_with("umount: /") && lines[1].ends_with("/v: not mounted."), "{text}");
    assert_eq!(lines[2..], ["status 32"]);
}

#[test]
fn a_bind_mount_becomes_read_only_by_itself() {
    let text = script(
        "mkdir a b; mount -t tmpfs tmpfs a; mount -o bind a b
         mount -o bind,remount,ro,relatime a b
         touch a/file; touch b/other || echo refused; ls b",
    );
    assert!(text.contains("Read-only file system\nrefused\nfile\n"), "{text}");
}

#[test]
fn what_an_open_descriptor_stands_for_can_be_bound() {
    let text = script(
        "mkdir a b; echo text > a/file; touch b/file; exec 7< a/file
         mount --no-canonicalize -o bind /proc/$$/fd/7 b/file; cat b/file; umount b/file",
    );
    assert_eq!(text, "text\n");
}

#[test]
fn a_tree_is_bound_whole_and_its_propagation_set() {
    let text = script(
        "mkdir a b; mount -t tmpfs tmpfs a; mkdir a/sub; mount -t tmpfs tmpfs a/sub; touch a/sub/x
         mount --rbind a b; ls b/sub; mount --make-rshared b
         grep -c ' /[^ ]*/b.* shared:' /proc/self/mountinfo
         mount --make-rprivate b; umount b 2>&1 | grep -c busy; umount -l b; ls b",
    );
    assert_eq!(text, "x\n2\n1\n");
}

#[test]
fn failures_are_told_as_mount_and_umount_tell_them() {
    let text = script(
        "mkdir v; touch file
         mount -t tmpfs tmpfs nowhere || echo $?
         mount -t tmpfs tmpfs file || echo $?
         mount -t nosuchfs x v || echo $?
         mount -o bind nothing v || echo $?
         mount -t tmpfs -o nonsense tmpfs v || echo $?
         mount v || echo $?
         umount nowhere || echo $?
         mount -t tmpfs tmpfs v; umount v nowhere || echo $?",
    );
    let want = "\
mount: nowhere: mount point does not exist.
32
mount: file: mount point is not a directory.
32
mount: v: unknown filesystem type 'nosuchfs'.
32
mount: v: special device nothing does not exist.
32
mount: v: wrong fs type, bad option, bad superblock on tmpfs, or other error.
32
mount: give the type of the file system with -t
1
umount: nowhere: no mount point specified.
32
umount: nowhere: no mount point specified.
64
";
    assert_eq!(text, want);
}
