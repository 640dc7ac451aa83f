//! Locks that cannot be made, are missing, or do not fit.

use expect_test::{Expect, expect};

use crate::archive::{Archive, INDEX, RELEASE};
use crate::project::{Project, refusal, start};
use crate::server::{Answer, nobody};
use crate::signers::Signer;

#[track_caller]
fn refused(change: impl FnOnce(&Project), want: Expect) {
    let project = Project::new();
    change(&project);
    project.refused(&["lock"], want);
    assert!(!project.path("orlop.lock").exists());
}

#[test]
fn an_unknown_package_is_named_with_near_ones() {
    refused(
        |project| project.ask_for("runk"),
        expect![[r#"
        exit 4
        error[E0410]: no suite has a package `runk`
          hint: did you mean `runc`?
    "#]],
    );
}

#[test]
fn a_package_like_no_other_is_named_with_what_to_look_at() {
    refused(
        |project| project.ask_for("zzzz"),
        expect![[r#"
        exit 4
        error[E0410]: no suite has a package `zzzz`
          hint: look whether its suite and component are in the recipe
    "#]],
    );
}

#[test]
fn a_list_that_cannot_be_closed_shows_the_way_to_what_is_lacking() {
    refused(
        |project| project.ask_for("tiny-open"),
        expect![[r#"
        exit 4
        error[E0411]: cannot close the list of packages: recipe -> tiny-open -> tiny-middle -> libabsent (>= 3): no suite has it
          hint: add the suite that has it, or leave it out with `exclude`
    "#]],
    );
}

#[test]
fn a_package_that_is_excluded_is_not_asked_for() {
    refused(
        |project| {
            project.change("[local.init]", "[debian.exclude]\nrunc = \"too large\"\n[local.init]")
        },
        expect![[r#"
            exit 4
            error[E0412]: the recipe asks for package `runc` and excludes it
              hint: `exclude` gives this reason: too large
        "#]],
    );
}

#[test]
fn an_unknown_component_is_named_with_those_there_are() {
    refused(
        |project| project.change("[\"main\"]", "[\"mian\"]"),
        expect![[r#"
        exit 4
        error[E0413]: suite `trixie` has no component `mian` for amd64
          hint: it has `main`
    "#]],
    );
}

#[test]
fn an_unknown_suite_is_a_file_that_the_server_does_not_have() {
    refused(
        |project| project.change("[\"trixie\"]", "[\"trixi\"]"),
        expect![[r#"
            exit 5
            error[E0502]: the server has no `MIRROR/debian/dists/trixi/InRelease` (404 Not Found)
              hint: is `trixi` a suite of Debian, and does the mirror's address end before `/dists`?
        "#]],
    );
}

#[test]
fn a_release_file_that_was_altered_is_not_believed() {
    let alter = |project: &Project| {
        let mut files = Archive::new().publish();
        let release = String::from_utf8(files[RELEASE].clone()).unwrap();
        files.insert(RELEASE.into(), release.replace("2022", "2023").into_bytes());
        project.server.serve(files);
    };
    refused(
        alter,
        expect![[r#"
            exit 8
            error[E0823]: the signature of the release file `MIRROR/debian/dists/trixie/InRelease` is bad: it does not fit the text, which was changed on its way or at the mirror
              hint: the mirror, or somebody between, has changed it: use another, `--mirror URL`
        "#]],
    );
}

#[test]
fn a_release_file_of_another_key_is_not_believed() {
    let other = Archive { signer: 2, ..Archive::new() };
    refused(
        |project| project.server.serve(other.publish()),
        expect![[r#"
        exit 8
        error[E0821]: the release file `MIRROR/debian/dists/trixie/InRelease` is signed by 7D782F28281D05EFBCCE96FD4933151249E4953F, which the recipe does not pin
          hint: `orlop explain E0821` says more
    "#]],
    );
}

#[test]
fn a_release_file_without_signature_is_not_believed() {
    let unsigned = |project: &Project| {
        project.server.answer(RELEASE, Answer::File(b"Suite: stable\n".to_vec()));
    };
    refused(
        unsigned,
        expect![[r#"
            exit 8
            error[E0820]: the release file `MIRROR/debian/dists/trixie/InRelease` has no signature
              hint: `orlop explain E0820` says more
        "#]],
    );
}

#[test]
fn a_key_that_has_expired_is_not_believed() {
    let expired = Signer::new(1).expiring_after(60).keyring();
    refused(
        |project| project.write("keyring.gpg", expired),
        expect![[r#"
        exit 8
        error[E0824]: cannot believe the signature of the release file `MIRROR/debian/dists/trixie/InRelease`: key `92E5CFF79E9534D8E69E7E40A6C489A227994217` has expired
          hint: `orlop explain E0824` says more
    "#]],
    );
}

#[test]
fn a_keyring_without_the_pinned_key_is_found_out_before_anything_is_asked_for() {
    let project = Project::new();
    project.write("keyring.gpg", Signer::new(2).keyring());
    project.refused(&["lock"], expect![[r#"
        exit 8
        error[E0822]: none of the pinned keys is in `DIR/project/keyring.gpg`: 92E5CFF79E9534D8E69E7E40A6C489A227994217
          hint: `gpg --show-keys DIR/project/keyring.gpg` lists what is in it
    "#]]);
    assert_eq!(project.server.take_requests(), [""; 0]);
}

#[test]
fn a_release_file_that_has_expired_is_not_believed() {
    let fields = "Valid-Until: Sun, 02 Jan 2022 00:00:00 UTC\n";
    let old = Archive { fields, ..Archive::new() };
    let project = Project::new();
    project.server.serve(old.publish());
    let ended = project.run(&["lock", "--progress", "none"]);
    assert_eq!(ended.status, Some(8));
    let start = "error[E0825]: the release file `MIRROR/debian/dists/trixie/InRelease` ";
    assert!(ended.stderr.starts_with(start), "{}", ended.stderr);
    let date = "days ago, made on Sat, 01 Jan 2022 00:00:00 UTC\n";
    assert!(ended.stderr.contains(date), "{}", ended.stderr);
}

#[test]
fn an_index_with_another_digest_is_not_believed() {
    let alter = |project: &Project| {
        let mut index = Archive::new().publish()[INDEX].clone();
        *index.last_mut().unwrap() ^= 1;
        project.server.answer(INDEX, Answer::File(index));
    };
    refused(
        alter,
        expect![[r#"
            exit 8
            error[E0826]: `MIRROR/debian/dists/trixie/main/binary-amd64/Packages.gz` has 1483 bytes and sha256 `SHA256`, the release file says 1483 and `SHA256`
              hint: the mirror may be in the middle of an update: try again, or another one
        "#]],
    );
}

#[test]
fn an_index_that_is_not_there_is_named() {
    refused(
        |project| project.server.remove(INDEX),
        expect![[r#"
        exit 5
        error[E0502]: the server has no `MIRROR/debian/dists/trixie/main/binary-amd64/Packages.gz` (404 Not Found)
          hint: `orlop explain E0502` says more
    "#]],
    );
}

#[test]
fn a_login_page_is_not_a_release_file() {
    refused(
        |project| project.server.answer(RELEASE, Answer::Page),
        expect![[r#"
        exit 5
        error[E0522]: `MIRROR/debian/dists/trixie/InRelease` is a web page, not a release file
          hint: a network with a login page answers like this
    "#]],
    );
}

#[test]
fn a_login_page_is_not_an_index() {
    refused(
        |project| project.server.answer(INDEX, Answer::Page),
        expect![[r#"
            exit 8
            error[E0826]: `MIRROR/debian/dists/trixie/main/binary-amd64/Packages.gz` is a web page, not the index that the release file lists
              hint: a network with a login page answers like this
        "#]],
    );
}

#[test]
fn a_mirror_that_is_not_there_is_named() {
    let project = Project::new();
    let nobody = nobody();
    let mut ended =
        project.run_with_mirror(&["lock", "--progress", "none"], &format!("{nobody}/debian"));
    ended.stderr = ended.stderr.replace(&nobody, "NOBODY");
    refusal(
        &ended,
        expect![[r#"
        exit 5
        error[E0504]: cannot connect to the server of `NOBODY/debian/dists/trixie/InRelease`: Connection refused (os error 111)
          hint: is the server running, and is this host on the network?
    "#]],
    );
}

#[test]
fn when_mirrors_fail_in_different_ways_each_is_told() {
    let project = Project::new();
    project.server.answer(RELEASE, Answer::Page);
    let url = project.server.url();
    let mirrors = format!("{url}/none {url}/debian");
    refusal(
        &project.run_with_mirror(&["lock", "--progress", "none"], &mirrors),
        expect![[r#"
            exit 5
            error[E0521]: no mirror has given suite `trixie`:
              MIRROR/none: the server has no `MIRROR/none/dists/trixie/InRelease` (404 Not Found)
              MIRROR/debian: `MIRROR/debian/dists/trixie/InRelease` is a web page, not a release file
              hint: is `trixie` a suite of Debian, and does the mirror's address end before `/dists`?
              hint: a network with a login page answers like this
        "#]],
    );
}

#[test]
fn what_is_not_an_address_is_no_mirror() {
    let project = Project::new();
    let words = ["lock", "--progress", "none", "--mirror", "mirror.example/debian"];
    refusal(
        &project.run(&words),
        expect![[r#"
            exit 5
            error[E0523]: `mirror.example/debian` is not the address of a mirror
              hint: write for example `http://mirror.example/debian` or `file:/srv/debian`
        "#]],
    );
}

#[test]
fn a_missing_lock_is_not_made_where_that_was_forbidden() {
    let project = Project::new();
    project.refused(
        &["build", "--locked"],
        expect![[r#"
            exit 4
            error[E0402]: there is no lock `orlop.lock`
              hint: `orlop lock` makes it
              hint: `--locked` forbids to make it here
        "#]],
    );
    project.refused(
        &["build", "--offline"],
        expect![[r#"
            exit 4
            error[E0402]: there is no lock `orlop.lock`
              hint: `orlop lock` makes it
              hint: `--offline` forbids to make it here
        "#]],
    );
    let command = project.command(&["fetch", "--progress", "none"]).env("CI", "1");
    refusal(
        &project.end(start(command)),
        expect![[r#"
            exit 4
            error[E0402]: there is no lock `orlop.lock`
              hint: `orlop lock` makes it
              hint: it is not made where `CI` is set
        "#]],
    );
    assert_eq!(project.server.take_requests(), [""; 0]);
}

#[test]
fn a_lock_for_another_recipe_is_stale_and_shows_what_changed() {
    let project = Project::locked();
    project.ask_for("tiny-shell");
    project.change("tools = [\"systemd-boot-efi\"]", "tools = []");
    for command in ["build", "fetch", "check"] {
        let ended = project.run(&[command, "--progress", "none"]);
        assert_eq!(ended.status, Some(4), "{command}");
    }
    project.refused(
        &["build"],
        expect![[r#"
            exit 4
            error[E0401]: the lock `orlop.lock` is stale: the recipe has changed since
              + package tiny-shell
              - tool systemd-boot-efi
              hint: `orlop lock` brings it up to date
        "#]],
    );
    assert_eq!(project.server.take_requests(), [""; 0]);
}

#[test]
fn a_lock_that_was_edited_is_refused_with_its_place_and_made_anew_by_lock() {
    let project = Project::locked();
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    project.write("orlop.lock", lock.replacen("role = \"root\"", "role = \"boot\"", 1));
    project.refused(&["build"], expect![[r#"
        exit 4
        error[E0403]: `orlop.lock` is not a lock: unknown variant `boot`, expected one of `root`, `kernel`, `tool`
          orlop.lock:29:8
           29 | role = "boot"
              |        ^^^^^^
          hint: `orlop lock` makes it anew
    "#]]);
    project.good(&["lock"]);
    assert_eq!(String::from_utf8(project.read("orlop.lock")).unwrap(), lock);
}

#[test]
fn a_new_lock_tells_what_moved() {
    let mut project = Project::locked();
    let libtiny = project.archive.packages.iter().position(|one| one.path().contains("libtiny"));
    project.archive.packages[libtiny.unwrap()] =
        crate::archive::Package::new("libtiny", "2.42-1").file("usr/lib/libtiny.so.2", "newer");
    project.server.serve(project.archive.publish());
    project.ask_for("tiny-unasked");
    let ended = project.good(&["lock"]);
    assert!(ended.stderr.contains("libtiny: 2.41-12 -> 2.42-1\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("tiny-unasked: added, 1-1\n"), "{}", ended.stderr);
}

#[test]
fn why_a_package_is_locked_is_the_way_from_the_recipe() {
    let project = Project::locked();
    assert_eq!(project.good(&["lock", "--why", "libtiny"]).stdout, "recipe -> runc -> libtiny\n");
    project.refused(
        &["lock", "--why", "bash"],
        expect![[r#"
            exit 2
            error[E0211]: `bash` is not in `orlop.lock`
              hint: nothing of the recipe needs it
        "#]],
    );
}

/// A project whose lock was made in 2025, while its mirror has a release of 2022 by now, with an
/// older package. None of both has a `Valid-Until`, like Debian's stable release.
fn fallen_back() -> Project {
    let project = Project::new();
    let newer = |archive: &mut Archive| {
        let libtiny = archive.packages.iter().position(|one| one.path().contains("libtiny"));
        archive.packages[libtiny.unwrap()] =
            crate::archive::Package::new("libtiny", "2.42-1").file("usr/lib/libtiny.so.2", "newer");
    };
    let mut archive = Archive { date: "Wed, 01 Jan 2025 00:00:00 UTC", ..Archive::new() };
    newer(&mut archive);
    project.server.serve(archive.publish());
    project.good(&["lock"]);
    project.server.serve(Archive::new().publish());
    project
}

#[test]
fn a_release_file_older_than_the_one_of_the_lock_is_not_believed() {
    let project = fallen_back();
    let before = project.read("orlop.lock");
    project.refused(&["lock"], expect![[r#"
        exit 8
        error[E0830]: the release file `MIRROR/debian/dists/trixie/InRelease` is 1096 days older than the one of the lock: it was made on Sat, 01 Jan 2022 00:00:00 UTC, that on Wed, 01 Jan 2025 00:00:00 UTC
          hint: the mirror has fallen behind, or somebody withholds updates: use another
          hint: to go back on purpose: `orlop lock --allow-older`
    "#]]);
    assert_eq!(project.read("orlop.lock"), before);
}

#[test]
fn who_goes_back_on_purpose_is_told_what_falls() {
    let project = fallen_back();
    let ended = project.good(&["lock", "--allow-older", "--progress", "plain"]);
    for line in [
        "warning: suite trixie goes back: Wed, 01 Jan 2025 00:00:00 UTC -> Sat, 01 Jan 2022 00:00:00 UTC\n",
        "warning: libtiny goes back: 2.42-1 -> 2.41-12\n",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
    let again = project.good(&["lock", "--progress", "plain"]);
    assert!(!again.stderr.contains("goes back"), "{}", again.stderr);
}

#[test]
fn a_mirror_that_has_fallen_behind_is_passed_over_for_one_that_has_not() {
    let project = fallen_back();
    let fresh = crate::server::Server::start();
    let archive = Archive { date: "Thu, 02 Jan 2025 00:00:00 UTC", ..Archive::new() };
    fresh.serve(archive.publish());
    let mirrors = format!("{}/debian {}/debian", project.server.url(), fresh.url());
    let ended = project.run_with_mirror(&["lock"], &mirrors);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(lock.contains("date = \"Thu, 02 Jan 2025 00:00:00 UTC\"\n"), "{lock}");
}

#[test]
fn a_lock_that_cannot_be_read_is_replaced_with_a_word_about_what_is_not_known() {
    let project = fallen_back();
    project.write("orlop.lock", "<<<<<<< ours\n");
    let ended = project.good(&["lock", "--progress", "plain"]);
    let said = "`orlop.lock` is not a lock";
    assert!(ended.stderr.contains(said) && ended.stderr.contains("falls back"), "{}", ended.stderr);
}

#[test]
fn an_archive_of_the_past_is_taken_if_the_recipe_says_of_when() {
    let project = Project::new();
    let archive = Archive {
        date: "Mon, 01 Jan 2024 00:00:00 UTC",
        fields: "Valid-Until: Mon, 08 Jan 2024 00:00:00 UTC\n",
        ..Archive::new()
    };
    project.server.serve(archive.publish());
    let ended = project.run(&["lock", "--progress", "none"]);
    assert_eq!(ended.status, Some(8));
    let cure = "write `snapshot = \"20240101T000000Z\"` into `[debian]`";
    assert!(ended.stderr.contains(cure), "{}", ended.stderr);

    project.change("[debian]\n", "[debian]\nsnapshot = \"20240105T000000Z\"\n");
    let ended = project.good(&["lock", "--progress", "plain"]);
    let said =
        "warning: suite `trixie` has expired since: it is taken as of the recipe's `snapshot`\n";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(lock.contains("    \"snapshot 20240105T000000Z\",\n"), "{lock}");
    project.good(&["build"]);

    // Neither one that had expired by then, nor one that was not yet made.
    for (from, to, id) in [
        ("20240105T000000Z", "20240108T000001Z", "E0825"),
        ("20240108T000001Z", "20231230T235959Z", "E0825"),
    ] {
        project.change(from, to);
        let ended = project.run(&["lock", "--progress", "none"]);
        assert!(ended.stderr.starts_with(&format!("error[{id}]")), "{to} {}", ended.stderr);
    }
    project.change("20231230T235959Z", "20240230T000000Z");
    assert_eq!(project.run(&["check"]).status, Some(3));
}

#[test]
fn a_recipe_that_asks_for_an_earlier_day_goes_back_without_an_option() {
    let project = fallen_back();
    project.change("[debian]\n", "[debian]\nsnapshot = \"20240105T000000Z\"\n");
    let ended = project.good(&["lock", "--progress", "plain"]);
    assert!(ended.stderr.contains("warning: libtiny goes back"), "{}", ended.stderr);
    // But for a day after the one of the lock, an older release is one too old.
    let project = fallen_back();
    project.change("[debian]\n", "[debian]\nsnapshot = \"20250105T000000Z\"\n");
    assert_eq!(project.run(&["lock"]).status, Some(8));
}

#[test]
fn a_mirror_on_a_disk_serves_locks_and_builds() {
    let project = Project::new();
    for (path, file) in project.archive.publish() {
        project.write(&format!("mirror{path}"), file);
    }
    let mirror = format!("file:{}", project.path("mirror/debian").display());
    for words in [&["lock"][..], &["build"]] {
        let ended = project.run_with_mirror(words, &mirror);
        assert_eq!(ended.status, Some(0), "{words:?}\n{}", ended.stderr);
    }
    assert_eq!(project.server.take_requests(), [""; 0]);
    std::fs::remove_file(project.path("mirror/debian/dists/trixie/InRelease")).unwrap();
    let ended = project.run_with_mirror(&["lock", "--progress", "none"], &mirror);
    refusal(
        &ended,
        expect![[r#"
            exit 5
            error[E0502]: cannot read `DIR/project/mirror/debian/dists/trixie/InRelease`: No such file or directory (os error 2)
              hint: is `trixie` a suite of Debian, and does the mirror's address end before `/dists`?
        "#]],
    );
}

#[test]
fn the_password_of_a_mirror_is_in_no_file_and_no_word() {
    let project = Project::new();
    let mirror = project.server.url().replacen("://", "://bob:s3cret@", 1) + "/debian";
    for words in [&["lock", "--json"][..], &["build", "--progress", "json"]] {
        let ended = project.run_with_mirror(words, &mirror);
        assert_eq!(ended.status, Some(0), "{words:?}\n{}", ended.stderr);
        assert!(!ended.stderr.contains("s3cret") && !ended.stdout.contains("s3cret"));
    }
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(!lock.contains("s3cret") && !lock.contains("bob"), "{lock}");
    for (path, words) in [("/none", &["lock"][..]), ("/debian", &["--help"])] {
        let mirror = mirror.replace("/debian", path);
        let ended = project.run_with_mirror(words, &mirror);
        let said = ended.stdout + &ended.stderr;
        assert!(!said.contains("s3cret") && !said.contains("bob"), "{said}");
    }
}

#[test]
fn a_version_that_is_pinned_and_not_there_is_named_with_those_that_are() {
    refused(
        |project| project.change("\"runc\"]", "\"runc=1.2-1\"]"),
        expect![[r#"
        exit 4
        error[E0410]: no suite has package `runc` in the version of `runc=1.2-1`
          hint: there are 1.1-1 (trixie)
    "#]],
    );
    let project = Project::new();
    project.change("\"runc\"]", "\"runc=1.1-1\", \"libtiny/stable\"]");
    project.good(&["lock"]);
    let lock = String::from_utf8(project.read("orlop.lock")).unwrap();
    assert!(lock.contains("\"package runc=1.1-1\"") && lock.contains("name = \"runc\""), "{lock}");
}

#[test]
fn what_is_no_pin_is_refused_by_check() {
    for package in ["runc:amd64", "runc (>= 1)", "runc=1.1-1\", \"runc/trixie"] {
        let project = Project::new();
        project.change("\"runc\"]", &format!("\"{package}\"]"));
        let ended = project.run(&["check", "--progress", "none"]);
        assert_eq!(ended.status, Some(3), "{package}\n{}", ended.stderr);
    }
}
