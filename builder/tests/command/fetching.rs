//! Packages that do not come, or not as they should.

use expect_test::{Expect, expect};

use crate::project::{Project, refusal};
use crate::server::{Answer, nobody};

#[track_caller]
fn refused(change: impl FnOnce(&Project, &str, Vec<u8>), want: Expect) -> Project {
    let project = Project::locked();
    let runc = project.archive.package("runc");
    change(&project, &runc.path(), runc.deb());
    project.refused(&["fetch"], want);
    project
}

#[test]
fn a_package_with_other_bytes_is_refused_and_may_be_right_the_next_time() {
    let project = refused(
        |project, path, mut deb| {
            *deb.last_mut().unwrap() ^= 1;
            project.server.answer(path, Answer::File(deb));
        },
        expect![[r#"
            exit 8
            error[E0801]: `MIRROR/debian/pool/runc_1.1-1_amd64.deb` has sha256 `SHA256`, and `SHA256` was asked for
              hint: another mirror may have the right file (`--mirror URL`); for a `url`, check its `sha256`
        "#]],
    );
    let runc = project.archive.package("runc");
    project.server.answer(&runc.path(), Answer::File(runc.deb()));
    project.server.take_requests();
    project.good(&["fetch"]);
    assert_eq!(project.server.take_requests(), [runc.path()], "the others had come");
}

#[test]
fn a_package_of_another_size_is_refused() {
    refused(
        |project, path, mut deb| {
            deb.push(b'\n');
            project.server.answer(path, Answer::File(deb));
        },
        expect![[r#"
            exit 8
            error[E0801]: `MIRROR/debian/pool/runc_1.1-1_amd64.deb` offers 649 bytes instead of 648
              hint: another mirror may have the right file (`--mirror URL`); for a `url`, check its `sha256`
        "#]],
    );
}

#[test]
fn a_package_that_the_mirror_has_dropped_is_named_with_the_cure() {
    refused(
        |project, path, _| project.server.remove(path),
        expect![[r#"
            exit 5
            error[E0502]: the server has no `MIRROR/debian/pool/runc_1.1-1_amd64.deb` (404 Not Found)
              hint: mirrors drop old versions: `orlop lock` moves to the current ones, or name a mirror that keeps them with `--mirror URL`
        "#]],
    );
}

#[test]
fn a_login_page_is_not_a_package() {
    refused(
        |project, path, _| project.server.answer(path, Answer::Page),
        expect![[r#"
        exit 5
        error[E0507]: the server answered with a web page instead of `MIRROR/debian/pool/runc_1.1-1_amd64.deb`
          hint: is there a login page or a filter between this host and the server?
    "#]],
    );
}

#[test]
fn a_download_that_was_cut_is_resumed_and_the_whole_is_checked() {
    let project = refused(
        |project, path, mut deb| {
            *deb.last_mut().unwrap() ^= 1;
            let half = deb.len() / 2;
            project.server.answer(path, Answer::CutOnce(deb, half));
        },
        expect![[r#"
            exit 8
            error[E0801]: `MIRROR/debian/pool/runc_1.1-1_amd64.deb` has sha256 `SHA256`, and `SHA256` was asked for
              hint: another mirror may have the right file (`--mirror URL`); for a `url`, check its `sha256`
        "#]],
    );
    let runc = project.archive.package("runc");
    let resumed = format!("{} from {}", runc.path(), runc.deb().len() / 2);
    assert!(project.server.take_requests().contains(&resumed));
    assert_eq!(std::fs::read_dir(project.store().join("partial")).unwrap().count(), 0);
}

#[test]
fn of_several_failures_all_are_told() {
    let project = Project::locked();
    for name in ["runc", "libtiny"] {
        project.server.remove(&project.archive.package(name).path());
    }
    project.refused(&["build"], expect![[r#"
        exit 5
        error[E0502]: cannot fetch 2 of 5 files
          E0502: the server has no `MIRROR/debian/pool/libtiny_2.41-12_amd64.deb` (404 Not Found)
          E0502: the server has no `MIRROR/debian/pool/runc_1.1-1_amd64.deb` (404 Not Found)
          hint: mirrors drop old versions: `orlop lock` moves to the current ones, or name a mirror that keeps them with `--mirror URL`
    "#]]);
}

#[test]
fn a_mirror_that_is_not_there_is_named() {
    let project = Project::locked();
    let nobody = nobody();
    let mut ended =
        project.run_with_mirror(&["fetch", "--progress", "none"], &format!("{nobody}/debian"));
    ended.stderr = ended.stderr.replace(&nobody, "NOBODY");
    let first = ended.stderr.lines().next().unwrap_or_default().to_owned() + "\n";
    assert!(ended.stderr.contains("is the server running"), "{}", ended.stderr);
    ended.stderr = first;
    refusal(
        &ended,
        expect![[r#"
            exit 5
            error[E0504]: cannot fetch 5 of 5 files
        "#]],
    );
}

#[test]
fn a_build_without_network_names_what_is_lacking_and_the_cure() {
    let project = Project::locked();
    project.refused(&["build", "--offline"], expect![[r#"
        exit 7
        error[E0704]: the store `DIR/store` lacks 5 of 5 files that the lock names:
          ca-certificates 2025-1 (pool/ca-certificates_2025-1_amd64.deb), sha256 SHA256
          libtiny 2.41-12 (pool/libtiny_2.41-12_amd64.deb), sha256 SHA256
          linux-image-6.0-cloud-amd64 6.0-1 (pool/linux-image-6.0-cloud-amd64_6.0-1_amd64.deb), sha256 SHA256
          runc 1.1-1 (pool/runc_1.1-1_amd64.deb), sha256 SHA256
          systemd-boot-efi 257-1 (pool/systemd-boot-efi_257-1_amd64.deb), sha256 SHA256
          hint: `orlop fetch` brings them; `orlop store add FILE` takes what was brought by hand
    "#]]);
    assert_eq!(project.server.take_requests(), [""; 0]);
    project.good(&["fetch"]);
    project.good(&["build", "--offline"]);
}

#[test]
fn a_store_can_be_filled_by_hand() {
    let project = Project::locked();
    for name in
        ["linux-image-6.0-cloud-amd64", "systemd-boot-efi", "runc", "libtiny", "ca-certificates"]
    {
        project.write("carried.deb", project.archive.package(name).deb());
        assert_eq!(project.good(&["store", "add", "carried.deb"]).stdout, "SHA256  carried.deb\n");
    }
    project.good(&["build", "--offline"]);
}

#[test]
fn a_store_that_is_not_there_is_not_found_good() {
    let project = Project::locked();
    let nowhere = project.store().with_extension("nowhere");
    let named = nowhere.to_str().unwrap();
    let ended = project.run(&["store", "verify", "--progress", "none", "--store", named]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(7), ""));
    assert!(ended.stderr.starts_with("error[E0701]: there is no store `"), "{}", ended.stderr);
    assert!(!nowhere.exists());
}

#[test]
fn a_blob_that_was_damaged_is_found() {
    let project = Project::locked();
    project.good(&["fetch"]);
    let deb = project.archive.package("runc").deb();
    let name = formats::digest::Sha256::of(&deb).to_string();
    let path = project.store().join("blobs").join(&name[..2]).join(&name);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &deb[..deb.len() - 1]).unwrap();
    let ended = project.run(&["store", "verify", "--progress", "none"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(8), ""));
    assert!(
        ended.stderr.starts_with("error[E0801]: 1 of 6 blobs are damaged:\n"),
        "{}",
        ended.stderr
    );
}
