//! Builds that somebody has put together so that a difference is not seen, or points elsewhere.

use super::*;

/// Whoever changes a program may change the list of files, too, so that it points elsewhere.
#[test]
fn a_manifest_that_says_something_else_than_its_image_is_not_believed() {
    let sample = Sample::new();
    let files = sample.files();
    let mut two = sample.clone();
    two.file("usr/bin/runc", &[0xF9; 8000]);
    let mut published = two.files();
    let mut liar = sample.clone();
    liar.node("etc/motd", |node| node.mode = 0o600);
    let manifest = manifest::text(&liar.tree).into_bytes();
    published.0.insert("manifest.txt".into(), manifest);
    let comparison = compared(&published, &files);
    let causes: Vec<_> =
        comparison.causes().map(|cause| format!("{}: {}", cause.file, cause.place)).collect();
    assert_eq!(causes, ["root.img: /usr/bin/runc, content, byte 8000", "manifest.txt: /etc/motd"]);
}

/// Of what a published build has to hide, something may differ that would excuse it.
#[test]
fn what_is_said_to_follow_must_hold_what_it_follows_from() {
    let sample = Sample::new();
    let files = sample.files();
    let mut other = sample.clone();
    other.initrd[1].4 = "PID one";
    other.vmlinuz[0x410] ^= 1;
    other.file("etc/motd", b"hello");
    let published = other.files();
    let mut evil = other.clone();
    evil.initrd[1].4 = "evil";
    let evil_files = evil.files();
    let causes = |published: &Memory| -> Vec<String> {
        let comparison = compared(published, &files);
        comparison.causes().map(|cause| format!("{}: {}", cause.file, cause.place)).collect()
    };
    let plain = causes(&published);
    assert_eq!(plain.len(), 3, "{plain:?}");
    let with = |name: &str, bytes: Vec<u8>| {
        let mut published = published.clone();
        published.0.insert(name.to_owned(), bytes);
        let all = causes(&published);
        all.into_iter().filter(|cause| !plain.contains(cause)).collect::<Vec<_>>()
    };
    let wrong = with("uki.efi", evil_files.0["uki.efi"].clone());
    let told = "uki.efi: section .initrd, /init, content, line 1".to_owned();
    assert!(wrong.contains(&told), "{wrong:?}");
    let mut sbom: Value = serde_json::from_slice(&published.0["sbom.cdx.json"]).unwrap();
    sbom["components"] = json!([]);
    let wrong = with("sbom.cdx.json", sbom.to_string().into_bytes());
    assert!(wrong.iter().any(|cause| cause.starts_with("sbom.cdx.json: ")), "{wrong:?}");

    let disks = |sample: &Sample, disk: &Sample| {
        let mut files = sample.files();
        let uki = disk.uki(disk.root().1, &packed(&disk.initrd, 0));
        let own = sample.root().0;
        files.0.insert("uki.efi".into(), uki.content().clone().into_bytes());
        files.0.insert("root.img".into(), own);
        files.0.insert("disk.raw".into(), disk.disk());
        files
    };
    let honest = compared(&disks(&other, &other), &disks(&sample, &sample));
    let told = |comparison: &Comparison| comparison.causes().any(|cause| cause.file == "disk.raw");
    assert!(!told(&honest), "{:#?}", honest.causes().collect::<Vec<_>>());
    let mut root = other.clone();
    root.file("etc/motd", b"evil");
    assert!(told(&compared(&disks(&other, &root), &disks(&sample, &sample))));
}

#[test]
fn padding_follows_from_what_it_stands_behind_if_it_is_padding() {
    let mut sample = Sample::new();
    let files = sample.files();
    sample.vmlinuz.extend([7; 9000]);
    let mut other = sample.files();
    let causes = |other: &Memory| -> Vec<String> {
        let comparison = compared(&files, other);
        comparison.causes().map(|cause| format!("{}: {}", cause.file, cause.place)).collect()
    };
    let told = causes(&other);
    assert!(told.iter().all(|cause| cause.starts_with("vmlinuz: ")), "{told:?}");
    *other.0.get_mut("uki.efi").unwrap().last_mut().unwrap() = 1;
    let told = causes(&other);
    assert!(told.iter().any(|cause| cause.starts_with("uki.efi: section .pad")), "{told:?}");
}

#[test]
fn a_file_that_is_missing_is_a_cause_whatever_else_differs() {
    let mut sample = Sample::new();
    let files = sample.files();
    sample.file("etc/motd", b"");
    let mut two = sample.files();
    for name in ["manifest.txt", "sbom.cdx.json", "uki.efi"] {
        two.0.remove(name);
        let comparison = compared(&files, &two);
        let told = |place: &str| {
            comparison.causes().any(|cause| format!("{}: {}", cause.file, cause.place) == place)
        };
        assert!(told(&format!("{name}: is in one of them only")), "{name}");
        assert!(told("root.img: /etc/motd, content, line 1"), "{name}");
    }
}

#[test]
fn all_paths_that_differ_are_counted() {
    let mut sample = Sample::new();
    let files = sample.files();
    for index in 0..100 {
        sample.file(&format!("etc/{index}"), b"x");
    }
    let comparison = compared(&files, &sample.files());
    assert_eq!(comparison.causes().filter(|cause| cause.file == "root.img").count(), 20);
    assert!(comparison.more >= 80, "{}", comparison.more);
}

#[test]
fn who_answers_is_what_the_second_build_says() {
    let mut one = Sample::new();
    let two = one.files();
    one.file("usr/bin/runc", &[0xF8; 9000]);
    let mut one = one.files();
    let contents = String::from_utf8(one.0["contents.json"].clone()).unwrap();
    let contents = contents.replace("deb/runc", "deb/innocent");
    one.0.insert("contents.json".into(), contents.into_bytes());
    let comparison = compared(&one, &two);
    let cause = comparison.causes().next().unwrap();
    assert_eq!(cause.component.as_deref(), Some("deb/runc"));
}
