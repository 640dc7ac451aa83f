//! What a package holds, as `dpkg-deb` and `tar` list it: forms of tar that `dpkg-deb` does not
//! write and other programs do, and owners that are not root.

use super::*;

/// A line of a listing: kind and mode, owner, path, target of a symbolic link.
type Line = (String, String, String, String);

/// `-rwsr-xr-x`.
fn mode_text(kind: char, mode: u16) -> String {
    let mut text = vec![kind];
    for (place, letter) in "rwxrwxrwx".chars().enumerate() {
        text.push(if mode & 0o400 >> place == 0 { '-' } else { letter });
    }
    for (place, bit, letter) in [(3, 0o4000, 's'), (6, 0o2000, 's'), (9, 0o1000, 't')] {
        if mode & bit != 0 {
            text[place] = if text[place] == 'x' { letter } else { letter.to_ascii_uppercase() };
        }
    }
    text.into_iter().collect()
}

fn ours(contents: &Contents) -> Vec<Line> {
    let line = |Entry { path, node }: &Entry| {
        let (kind, target) = match &node.kind {
            Kind::Directory => ('d', ""),
            Kind::Symlink(target) => ('l', target.as_str()),
            Kind::File(_) => ('-', ""),
        };
        let owner = format!("{}/{}", node.uid, node.gid);
        (mode_text(kind, node.mode), owner, path.as_str().to_owned(), target.to_owned())
    };
    contents.entries.iter().map(line).collect()
}

/// Another name of a file is listed as one; the root directory is not.
fn theirs(deb: &Path) -> Vec<Line> {
    const LIST: &str = "dpkg-deb --fsys-tarfile \"$1\" | \
                        tar --numeric-owner --quoting-style=literal -tvf -";
    let list = Command::new("sh").args(["-c", LIST, "sh"]).arg(deb).env("LC_ALL", "C").run();
    let list = String::from_utf8(list.expect("packages `dpkg` and `tar` are needed")).unwrap();
    let mut lines: Vec<Line> = list
        .lines()
        .filter_map(|line| {
            let mut rest = line;
            let mut word = || {
                let (word, behind) = rest.trim_start().split_once(' ').unwrap();
                rest = behind;
                word.to_owned()
            };
            let [mode, owner, _size, _date, _time] = [(); 5].map(|()| word());
            let (path, target) = match mode.chars().next() {
                Some('l') => rest.split_once(" -> ").unwrap(),
                Some('h') => (rest.split_once(" link to ").unwrap().0, ""),
                _ => (rest, ""),
            };
            let path = path.trim_start_matches("./").trim_end_matches('/');
            let line = (mode.replace('h', "-"), owner, path.to_owned(), target.to_owned());
            (!path.is_empty()).then_some(line)
        })
        .collect();
    lines.sort_by(|one, other| one.2.cmp(&other.2));
    lines
}

#[test]
fn dpkg_deb_and_tar_list_what_we_list_in_every_form_of_tar_and_with_any_owner() {
    for (form, owner, packing, member) in [
        ("gnu", "70000", None, "data.tar"),
        ("gnu", "3000000", Some("--gzip"), "data.tar.gz"),
        ("ustar", "70000", Some("--xz"), "data.tar.xz"),
        ("pax", "3000000", Some("--xz"), "data.tar.xz"),
        ("pax", "70000", Some("--gzip"), "data.tar.gz"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let write = |path: &str, mode: u32| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"content").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("usr/bin/a", 0o4755);
        write("usr/bin/only-owner", 0o600);
        write("usr/share/a name with blanks", 0o644);
        // 130 bytes: more than the name of a header, less than name and prefix of ustar.
        write(&format!("usr/{}/{}", "d".repeat(60), "n".repeat(65)), 0o644);
        if form != "ustar" {
            write(&format!("usr/{}/{}", "ö".repeat(70), "ä".repeat(120)), 0o2644);
            let target = format!("../{}", "t".repeat(150));
            std::os::unix::fs::symlink(target, root.join("usr/share/far")).unwrap();
        }
        std::os::unix::fs::symlink("../bin/a", root.join("usr/share/link")).unwrap();
        fs::hard_link(root.join("usr/bin/a"), root.join("usr/share/same")).unwrap();
        fs::create_dir(root.join("tmp")).unwrap();
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        let data = directory.path().join(member);
        let tar = Command::new("tar").arg(format!("--format={form}")).args(packing);
        let tar = tar.args([format!("--owner=a:{owner}"), format!("--group=a:{owner}")]);
        tar.arg("-cf").arg(&data).arg("-C").arg(&root).arg(".").run().unwrap();
        let control = gzip(&Tar::new().file("./control", 0o644, CONTROL.as_bytes()).finish());
        let data = fs::read(data).unwrap();
        let parts: [(&str, &[u8]); 3] =
            [("debian-binary", b"2.0\n"), ("control.tar.gz", &control), (member, &data)];
        let bench = Bench::new();
        let contents = bench.unpack(&shell(&parts), all).unwrap();
        let theirs = theirs(&bench.0.path().join("a.deb"));
        assert!(theirs.iter().any(|line| line.1 == format!("{owner}/{owner}")), "{theirs:?}");
        assert_eq!(ours(&contents), theirs, "{form} {member}");
    }
}
