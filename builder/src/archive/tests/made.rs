//! Archives that GNU tar makes, in all its forms.

use super::*;

fn tar(directory: &tempfile::TempDir, args: &[&str]) -> Vec<u8> {
    run(directory.path(), "tar", &[&["-c", "--sort=name"], args, &["top"]].concat())
}

#[test]
fn every_form_is_read_as_gnu_tar_reads_it() {
    let (plain, long, sparse) = (plain(), long(), sparse());
    for form in ["v7", "ustar", "oldgnu", "gnu", "posix"] {
        let form = format!("--format={form}");
        let tree = alike(&tar(&plain, &[&form]), &form);
        assert_eq!(tree["top/below/alias"], Seen::File(vec![7; 1024], true));
        alike(&tar(&plain, &[&form, "--hard-dereference"]), &form);
    }
    for form in ["oldgnu", "gnu", "posix"] {
        let form = format!("--format={form}");
        alike(&tar(&long, &[&form]), &form);
        let owner = "--owner=somebody:3000000000";
        alike(&tar(&long, &[&form, owner, "--mtime=@-5"]), "numbers that octal digits cannot hold");
        let tree = alike(&tar(&sparse, &[&form, "--sparse"]), "sparse");
        let Seen::File(many, _) = &tree["top/many"] else { panic!("{}", short(&tree)) };
        assert_eq!(many.len(), 8 << 20);
    }
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        let archive = tar(&sparse, &["--format=posix", "--sparse", &version]);
        let tree = alike(&archive, &version);
        assert!(tree.keys().all(|path| !path.contains("GNUSparseFile")), "{}", short(&tree));
    }
}

#[test]
fn records_of_pax_hold_for_one_member_or_for_all() {
    let long = long();
    for records in [
        "comment=a global comment",
        "SCHILY.xattr.user.a:=value\nof two lines,comment:=own",
        "uid=77,gid:=78",
        "globexthdr.name=global,comment=x,exthdr.name=%d/own/%f",
    ] {
        let option = format!("--pax-option={records}");
        alike(&tar(&long, &["--format=posix", &option]), records);
    }
    alike(&tar(&long, &["--format=posix", "--label=a label"]), "label");
    alike(&tar(&long, &["--format=gnu", "--label=a label"]), "label");
}

#[test]
fn what_was_added_later_counts() {
    let directory = plain();
    for form in ["gnu", "ustar", "posix"] {
        let form = format!("--format={form}");
        let at = |path: &str| directory.path().join(path);
        fs::write(at("top/file"), "before").unwrap();
        fs::write(at("archive"), tar(&directory, &[&form])).unwrap();
        fs::write(at("top/file"), "afterwards").unwrap();
        run(directory.path(), "tar", &["-r", &form, "-f", "archive", "top/file", "top/block"]);
        let archive = fs::read(at("archive")).unwrap();
        let tree = alike(&archive, &form);
        assert_eq!(tree["top/file"], Seen::File(b"afterwards".to_vec(), false));
        // Joined by tar, which knows where one ends, and by somebody who does not.
        fs::write(at("second"), tar(&directory, &[&form])).unwrap();
        run(directory.path(), "tar", &["-A", &form, "-f", "archive", "second"]);
        alike(&fs::read(at("archive")).unwrap(), &form);
        let both = [archive, fs::read(at("second")).unwrap()].concat();
        alike(&both, "one archive behind the other");
    }
}

#[test]
fn every_packing_is_read_whatever_the_file_is_called() {
    let directory = plain();
    let plain = alike(&tar(&directory, &[]), "plain");
    for packing in ["--gzip", "--xz", "--zstd", "--bzip2"] {
        let packed = tar(&directory, &[packing]);
        assert_eq!(alike(&packed, packing), plain);
        // Programs that pack on several processors make several streams.
        let (one, two) = tar(&directory, &[])
            .split_at_checked(5120)
            .map(|(a, b)| (a.to_vec(), b.to_vec()))
            .unwrap();
        let program = &packing[2..];
        let pack = |bytes: Vec<u8>| {
            fs::write(directory.path().join("part"), bytes).unwrap();
            run(directory.path(), program, &["-c", "part"])
        };
        let streams = [pack(one), pack(two)].concat();
        assert_eq!(alike(&streams, program), plain, "two streams of {program}");
        refused(&packed[..packed.len() - 3], "cannot unpack `the archive`");
        let mut wrong = packed.clone();
        let middle = wrong.len() / 2;
        wrong[middle] ^= 0x10;
        let error = ours(&wrong).expect_err(packing);
        assert_eq!(error.id(), Id::Archive, "{packing}");
    }
}

#[test]
fn a_skippable_frame_of_zstd_holds_nothing() {
    let directory = plain();
    let packed = tar(&directory, &["--zstd"]);
    let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
    let both = [skipped.clone(), packed, skipped].concat();
    assert_eq!(ours(&both).unwrap(), seen_of(&directory));
}

fn seen_of(directory: &tempfile::TempDir) -> Tree {
    let mut tree = seen(directory.path());
    tree.retain(|path, _| path.starts_with("top"));
    tree
}

#[test]
fn a_zip_archive_is_read_as_python_and_zip_see_it() {
    let directory = plain();
    let at = |path: &str| directory.path().join(path);
    let mut want = seen_of(&directory);
    run(directory.path(), "zip", &["-q", "-y", "-r", "all.zip", "top"]);
    assert_eq!(ours(&fs::read(at("all.zip")).unwrap()).unwrap(), want);
    run(directory.path(), "zip", &["-q", "-y", "-r", "-0", "stored.zip", "top"]);
    assert_eq!(ours(&fs::read(at("stored.zip")).unwrap()).unwrap(), want);
    // Written to a pipe, sizes stand behind the contents.
    let script = "import sys, zipfile\n\
        z = zipfile.ZipFile(sys.stdout.buffer, 'w', zipfile.ZIP_DEFLATED)\n\
        z.writestr('top/file', 'content\\n')\n\
        z.writestr('./top/../outside', 'x')\n\
        z.close()\n";
    let piped = run(directory.path(), "python3", &["-c", script]);
    want.retain(|path, _| ["top", "top/file"].contains(&path.as_str()));
    assert_eq!(ours(&piped).unwrap(), want);

    let script = "import sys, zipfile\n\
        z = zipfile.ZipFile('lzma.zip', 'w', zipfile.ZIP_LZMA)\n\
        z.writestr('a', 'content\\n')\n\
        z.close()\n";
    run(directory.path(), "python3", &["-c", script]);
    let lzma = ours(&fs::read(at("lzma.zip")).unwrap()).unwrap();
    assert_eq!(lzma["a"], Seen::Other("compressed in another way than by deflate"));
    run(directory.path(), "zip", &["-q", "-P", "word", "secret.zip", "top/file"]);
    let secret = ours(&fs::read(at("secret.zip")).unwrap()).unwrap();
    assert_eq!(secret["top/file"], Seen::Other("encrypted"));

    let mut damaged = fs::read(at("stored.zip")).unwrap();
    let place = damaged.windows(8).position(|part| part == b"content\n").unwrap();
    damaged[place] ^= 1;
    refused(&damaged, "checksum");
    let whole = fs::read(at("all.zip")).unwrap();
    refused(&whole[..whole.len() - 30], "cannot unpack `the archive`");
}
