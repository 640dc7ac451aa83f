//! What is made of images that are damaged.

use serde_json::{Value, json};

use super::made::{blob, digest, layer, made};
use super::*;
use crate::crash;
use crate::images::archive::tests::tar;

const ONE: &[(&str, &[&str])] = &[("a.test/app:1", &["base", "app"])];
const TWO: &[(&str, &[&str])] =
    &[("a.test/app:1", &["base", "app"]), ("b.test/web:1", &["base", "lib", "web"])];

#[test]
fn of_what_is_whole_nothing_is_touched() {
    let mut made = made(TWO);
    assert_eq!(made.good(0), [""; 0]);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn a_damaged_snapshot_goes_with_all_that_lie_on_it_whoever_made_them() {
    let mut made = made(ONE);
    // A container, and an image that nobody has a name for any more.
    for (name, layers) in [("dead", &["base", "app"][..]), ("orphan", &["base"])] {
        let snapshot = made.lay(name, layers);
        made.others.insert(name.to_owned(), snapshot);
    }
    made.damage("/snapshots/base/fs/base");
    let want = format!("base of {} is damaged: it will be unpacked again", digest(&layer("base")));
    assert_eq!(made.good(0), [want]);
    assert_eq!(
        made.done,
        ["dead", "base-app", "orphan", "base"].map(|name| format!("snapshot /snapshots/{name}/fs"))
    );

    let mut made = self::made(ONE);
    made.damage("/snapshots/base-app/fs/app");
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, ["snapshot /snapshots/base-app/fs"]);
}

#[test]
fn all_images_on_a_damaged_layer_are_unpacked_again_children_first() {
    let mut made = made(TWO);
    made.damage("/snapshots/base/fs/base");
    let want = format!("base of {} is damaged: it will be unpacked again", digest(&layer("base")));
    assert_eq!(made.good(0), [want]);
    assert_eq!(made.snapshots.len(), 0);
    assert_eq!(made.done.len(), 4, "{:?}", made.done);

    // Of what one has for itself, the other loses nothing.
    let mut made = self::made(TWO);
    made.damage("/snapshots/base-lib/fs/lib");
    assert_eq!(made.good(0).len(), 1);
    let gone = ["snapshot /snapshots/base-lib-web/fs", "snapshot /snapshots/base-lib/fs"];
    assert_eq!(made.done, gone);
}

#[test]
fn a_damaged_blob_takes_every_name_and_every_image_that_needs_it() {
    // Two names of one image, and another image on the same layer: nothing is unpacked yet.
    let mut made = made(TWO);
    let (_, target) = made.images[0].clone();
    made.images.push(("c.test/app:latest".to_owned(), target));
    made.add("d.test/other:1", &["other"]);
    made.snapshots.clear();
    let base = digest(&layer("base"));
    made.damage_blob(&base);
    let lines = made.good(0);
    let removed =
        |name: &str| format!("{name} was damaged ({base}) and is removed: it is fetched again");
    assert_eq!(lines, ["a.test/app:1", "b.test/web:1", "c.test/app:latest"].map(removed));
    assert_eq!(made.images[0].0, "d.test/other:1");
    assert_eq!(made.done[3..], [format!("blob {base}")]);
    assert!(!made.root.path(blob(&base)).exists());
    assert!(made.root.path(blob(&digest(&layer("app")))).exists());
}

#[test]
fn a_blob_is_needed_by_the_image_alone_that_is_not_unpacked() {
    let mut made = made(TWO);
    made.add("c.test/base:1", &["lib"]);
    // The same blob on no other layer is another snapshot, which is not there.
    let alone = digest(&tar(&[("lib", b"lib")]));
    made.snapshots.remove(&alone).expect("it was there");
    made.damage_blob(&digest(&layer("lib")));
    // What is unpacked is older than the power cut.
    assert_eq!(made.good(i64::MAX).len(), 1);
    let gone = ["image c.test/base:1".to_owned(), format!("blob {}", digest(&layer("lib")))];
    assert_eq!(made.done, gone);
}

#[test]
fn what_was_there_long_before_the_power_cut_is_not_read() {
    let mut made = made(ONE);
    made.damage("/snapshots/base/fs/base");
    assert_eq!(made.good(i64::MAX), [""; 0]);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn an_image_whose_blob_is_damaged_goes_with_the_file_if_it_is_needed() {
    let mut made = made(ONE);
    let (name, target) = made.images[0].clone();
    made.damage_blob(&target.digest);
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", target.digest)]);
    assert!(!made.root.path(blob(&target.digest)).exists());

    // All layers are unpacked, long ago: the blob is of no use, and a registry may be far.
    let mut made = self::made(ONE);
    made.damage_blob(&digest(&layer("base")));
    assert_eq!(made.good(i64::MAX), [""; 0]);
    assert_eq!(made.done, [""; 0]);

    // Only the lower layer is unpacked.
    let mut made = self::made(ONE);
    made.snapshots.retain(|_, snapshot| snapshot.below.is_none());
    made.damage_blob(&digest(&layer("app")));
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", digest(&layer("app")))]);
}

#[test]
fn what_is_not_understood_is_told_and_stays() {
    let mut made = made(ONE);
    let strange = made.put(b"no JSON");
    made.name("b.test/strange:1", &strange);
    let other = json!({ "digest": format!("sha512:{}", "0".repeat(128)), "size": 1 });
    made.name("c.test/sha512:1", &other);
    let lines = made.good(0);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("cannot look at b.test/strange:1: sha256:"), "{lines:?}");
    assert!(lines[1].contains("is no sha256 digest"), "{lines:?}");
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn a_snapshot_that_cannot_go_is_told_once() {
    let mut made = made(ONE);
    let held = made.lay("held", &["base"]);
    made.others.insert("somebody".to_owned(), held.clone());
    made.refuses.push(held);
    made.damage("/snapshots/base/fs/base");
    let repair = made.repair(0);
    assert_eq!((repair.done.len(), repair.left.len()), (0, 1), "{repair:?}");
    assert!(repair.left[0].ends_with("its snapshot cannot be removed: refused"), "{repair:?}");
    assert_eq!(made.done, ["snapshot /snapshots/base-app/fs"]);
    // What cannot be asked for is tried again, whatever went without it.
    made.refuses = vec!["snapshots".to_owned()];
    let repair = made.repair(0);
    assert_eq!((repair.done.len(), repair.left.len()), (0, 2), "{repair:?}");
    let want = "cannot be removed: cannot remove snapshot with child: failed precondition";
    assert!(repair.left[1].ends_with(want), "{repair:?}");
}

#[test]
fn what_lies_on_a_damaged_snapshot_goes_with_its_image_if_that_cannot_be_read() {
    // Of the second it cannot be said that it lies on the base.
    let mut made = made(TWO);
    let config = made.config("b.test/web:1");
    made.damage_blob(&config);
    made.damage("/snapshots/base/fs/base");
    let base = digest(&layer("base"));
    let want = [
        format!("b.test/web:1 was damaged ({config}) and is removed: it is fetched again"),
        format!("base of {base} is damaged: it will be unpacked again"),
    ];
    assert_eq!(made.good(0), want);
    assert_eq!(made.snapshots.len(), 0);
    let first = "image b.test/web:1";
    let gone = [first, "snapshot /snapshots/base-app/fs", "snapshot /snapshots/base/fs"];
    assert_eq!(made.done[..3], gone);
}

#[test]
fn what_went_with_an_image_need_not_be_removed() {
    let mut made = made(ONE);
    made.damage("/snapshots/base-app/fs/app");
    made.damage_blob(&digest(&layer("app")));
    assert_eq!(made.good(0).len(), 2);
    assert_eq!(made.snapshots.len(), 0);
    let gone = ["image a.test/app:1".to_owned(), format!("blob {}", digest(&layer("app")))];
    assert_eq!(made.done, gone);
}

#[test]
fn a_snapshot_is_unproven_if_its_blob_is_damaged_as_well() {
    // A file is damaged, and nothing says so any more.
    let mut made = made(TWO);
    made.damage("/snapshots/base/fs/base");
    let base = digest(&layer("base"));
    made.damage_blob(&base);
    let gone =
        |name: &str| format!("{name} was damaged ({base}) and is removed: it is fetched again");
    let unproven = "so nothing says whether what was unpacked of it is whole";
    let want = [
        gone("a.test/app:1"),
        gone("b.test/web:1"),
        format!("{base} is damaged, {unproven}: it will be unpacked again"),
    ];
    assert_eq!(made.good(0), want);
    assert_eq!(made.snapshots.len(), 0);
    assert!(!made.root.path(blob(&base)).exists());
}

#[test]
fn another_blob_of_the_same_layer_proves_what_was_unpacked() {
    let mut made = made(ONE);
    // The same files, compressed by nobody.
    let plain = ["base", "app"].map(|name| tar(&[(name, name.as_bytes())]));
    made.add_of("b.test/plain:1", &["base", "app"], &plain);
    made.damage_blob(&digest(&layer("base")));
    assert_eq!(made.good(0), [""; 0]);
    assert_eq!(made.done, [""; 0]);
}

#[test]
fn an_index_of_which_no_manifest_is_there_is_damaged() {
    let mut made = made(ONE);
    let (name, target) = made.images[0].clone();
    let index = fs::read(made.root.path(blob(&target.digest))).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let manifest = index["manifests"][1]["digest"].as_str().unwrap();
    fs::remove_file(made.root.path(blob(manifest))).unwrap();
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.done, [format!("image {name}"), format!("blob {}", target.digest)]);
}

#[test]
fn what_was_being_pulled_when_the_power_went_is_in_nobody_s_way() {
    let mut made = made(ONE);
    let half = made.lay("extract-1 sha256:x", &["base"]);
    made.leases.insert("pull".to_owned(), half);
    made.damage("/snapshots/base/fs/base");
    assert_eq!(made.good(0).len(), 1);
    assert_eq!(made.snapshots.len(), 0);

    // Also if nothing is damaged: it would never be looked at.
    let mut made = self::made(ONE);
    let half = made.lay("extract-1 sha256:x", &["base"]);
    made.leases.insert("pull".to_owned(), half);
    assert_eq!(made.good(0), [""; 0]);
    assert_eq!(made.snapshots.len(), 2);

    let mut made = self::made(ONE);
    made.refuses.push("leases".to_owned());
    assert_eq!(made.repair(0), Repair { done: vec![], left: vec!["refused".to_owned()] });
}

#[test]
fn what_could_not_be_made_good_is_tried_again_after_the_next_boot() {
    let mut made = made(ONE);
    let root = made.root.clone();
    assert_eq!(crash::make_good(&mut made, &root), None, "all boots ended in order");
    crash::note(&root).unwrap();
    made.damage("/snapshots/base/fs/base");
    for refused in ["images", "directories"] {
        made.refuses = vec![refused.to_owned()];
        let repair = crash::make_good(&mut made, &root).unwrap();
        assert_eq!(repair.left.len(), 1, "{refused}: {repair:?}");
    }
    // The next boot: what was of this one is gone.
    fs::remove_dir_all(root.path("/run")).unwrap();
    made.refuses.clear();
    let held = made.lay("held", &["base"]);
    made.others.insert("somebody".to_owned(), held.clone());
    made.refuses.push(held);
    made.damage("/snapshots/base/fs/base");
    let repair = crash::make_good(&mut made, &root).unwrap();
    assert_eq!(repair.left.len(), 1, "{repair:?}");
    made.refuses.clear();
    let repair = crash::make_good(&mut made, &root).unwrap();
    assert_eq!((repair.done.len(), repair.left.len()), (1, 0), "{repair:?}");
    assert_eq!(crash::make_good(&mut made, &root), None);
    assert!(!root.path(crash::NOTE).exists());
}
