//! Contents as JSON, and what in them nobody answers for.

use formats::digest::Sha256;

use super::*;

fn file(place: &str, path: &str, component: &str, mode: &str, sha1: &str) -> File {
    File {
        place: place.into(),
        path: path.into(),
        component: Some(component.into()),
        mode: mode.into(),
        uid: 0,
        gid: 0,
        kind: Kind::File { size: 3, sha256: Hex(Sha256::of(path)), sha1: sha1.repeat(20) },
        libraries: Vec::new(),
    }
}

fn source(name: &str, version: &str) -> Source {
    Source { name: name.into(), version: version.into() }
}

/// One of everything.
pub(crate) fn sample() -> Contents {
    let crun = Deb {
        name: "crun".into(),
        version: "1.21-1+b1".into(),
        architecture: "amd64".into(),
        source: "crun".into(),
        source_version: Some("2:1.21-1".into()),
        built_using: vec![source("golang-1.24", "1.24.4-1")],
        suite: "trixie".into(),
        sha256: Hex(Sha256::of("crun")),
        licence: Some("GPL-2.0-or-later AND LicenseRef-Debian-odd".into()),
    };
    let c_library =
        Deb { name: "libc6-dev".into(), licence: None, built_using: Vec::new(), ..crun.clone() };
    let kernel = Deb {
        name: "linux-image-6.12".into(),
        version: "6.12.100-1".into(),
        source: "linux-signed-amd64".into(),
        source_version: Some("6.12.100+1".into()),
        built_using: vec![source("linux", "6.12.100-1")],
        suite: "trixie-security".into(),
        ..c_library.clone()
    };
    let net = Library::GoModule {
        name: "golang.org/x/net".into(),
        version: "v0.50.0".into(),
        sum: "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=".into(),
        state: State::Whole,
    };
    let here = Library::GoModule {
        name: "a.example/here".into(),
        version: "v1.0.0".into(),
        sum: String::new(),
        state: State::Changed,
    };
    let serde = Library::Crate {
        name: "serde".into(),
        version: "1.0.228".into(),
        registry: Some(CRATES_IO.into()),
        git: None,
        sha256: Some(Hex(Sha256::of("serde"))),
        state: State::Whole,
    };
    let of_git = Library::Crate {
        name: "serde".into(),
        version: "1.0.228".into(),
        registry: None,
        git: Some("git+https://g.example/serde#0123abcd".into()),
        sha256: None,
        state: State::Whole,
    };
    let own = Library::Crate {
        name: "own".into(),
        version: "0.1.0".into(),
        registry: None,
        git: None,
        sha256: None,
        state: State::Whole,
    };
    let patched = Library::Crate {
        name: "patched".into(),
        version: "1.0.0".into(),
        registry: Some(CRATES_IO.into()),
        git: None,
        sha256: None,
        state: State::Changed,
    };
    let libraries = [
        net,
        here,
        serde,
        of_git,
        own,
        patched,
        Library::GoStandard { version: "1.26.1".into() },
        Library::RustStandard { version: "1.95.0".into() },
        Library::Deb(c_library),
    ];
    let libraries: BTreeMap<_, _> = libraries.map(|library| (library.id(), library)).into();
    let url = "https://files.example/a.tar".to_owned();
    let components = [
        ("deb/crun", Component::Deb(crun)),
        ("deb/linux-image-6.12", Component::Deb(kernel)),
        ("go/tool", Component::Go),
        ("cargo/init", Component::Cargo),
        ("url/files", Component::Url { url, sha256: Hex(Sha256::of("files")) }),
        ("local/base", Component::Local),
        ("oci/pause", Component::Oci { reference: "a.example/pause:1".into() }),
        ("apparmor/one", Component::Apparmor),
        ("made/system", Component::Made),
    ];
    let of = |kind: &str| -> Vec<String> {
        libraries.keys().filter(|id| kind.split(' ').any(|k| id.starts_with(k))).cloned().collect()
    };
    let link = Kind::Symlink { target: "crun".into() };
    let directory =
        File { kind: Kind::Directory, component: None, ..file("root", "/usr", "", "0755", "") };
    let tool =
        File { libraries: of("go"), ..file("root", "/usr/bin/tool", "go/tool", "0755", "cc") };
    let init = File {
        libraries: of("cargo rust deb"),
        ..file("initrd", "/init", "cargo/init", "0755", "dd")
    };
    Contents {
        schema: SCHEMA,
        image: "tiny".into(),
        version: "1.0".into(),
        system: "OrlopOS".into(),
        architecture: Architecture::Amd64,
        components: components.map(|(id, component)| (id.to_owned(), component)).into(),
        libraries,
        licences: [("LicenseRef-Debian-odd".to_owned(), "Do as you like.".to_owned())].into(),
        files: vec![
            init,
            file("oci/pause", "/pause", "local/base", "0644", "ee"),
            directory,
            file("root", "/usr/bin/crun", "deb/crun", "0755", "bb"),
            File { kind: link, ..file("root", "/usr/bin/crun link", "deb/crun", "0777", "") },
            tool,
            file("root", "/usr/share/crun", "deb/crun", "0644", "aa"),
        ],
    }
}

#[test]
fn contents_come_back_from_json_as_they_were() {
    let text = serde_json::to_vec(&sample()).unwrap();
    assert_eq!(Contents::parse(&text).unwrap(), sample());
    let newer = Contents { schema: SCHEMA + 1, ..sample() };
    let error = Contents::parse(&serde_json::to_vec(&newer).unwrap()).unwrap_err();
    assert!(matches!(error, ReportError::Newer(2)), "{error}");
}

#[test]
fn a_file_that_nobody_answers_for_is_refused_by_its_name() {
    sample().check().unwrap();
    let wrong = |change: &dyn Fn(&mut Contents)| {
        let mut contents = sample();
        change(&mut contents);
        let error = contents.check().unwrap_err();
        assert_eq!(error.id(), Id::Orphan);
        error.to_string()
    };
    let said = wrong(&|contents| contents.files[3].component = None);
    assert!(said.ends_with(":\n  /usr/bin/crun is from nobody"), "{said}");
    let said = wrong(&|contents| drop(contents.components.remove("local/base")));
    assert!(said.ends_with(":\n  /pause of oci/pause is from nobody"), "{said}");
    for (index, path) in [(0, "/init of initrd"), (5, "/usr/bin/tool")] {
        let said = wrong(&|contents| contents.files[index].libraries.clear());
        assert!(said.ends_with(&format!("\n  {path} does not say what it is made of")), "{said}");
    }
    let said = wrong(&|contents| drop(contents.libraries.remove("go-standard@1.26.1")));
    assert!(said.contains("`go-standard@1.26.1`, which nobody knows"), "{said}");
}

/// `replace` may name another module, or a directory, which is what a workspace's own modules are.
#[test]
fn a_module_that_a_directory_stood_in_for_is_told_and_does_not_pass_for_it() {
    let text = "path\tx\nmod\torlop.dev/tool\t(devel)\t\n\
        dep\ta.example/b\tv1.0.0\n=>\t../home/b\t(devel)\t\n\
        dep\tc.example/d\tv1.0.0\n=>\te.example/f\tv1.1.0\th1:x=\n\
        dep\tg.example/h\t(devel)\t\n";
    let info =
        BuildInfo { go: "devel go1.27-0123abcd X:y".into(), ..BuildInfo::parse(text).unwrap() };
    let told: Vec<_> = Library::of_go(&info)
        .iter()
        .map(|library| match library {
            Library::GoModule { name, version, sum, state } => {
                format!("{name} {version} {sum} {state:?}")
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "a.example/b v1.0.0  Changed",
            "e.example/f v1.1.0 h1:x= Whole",
            "g.example/h (devel)  Changed",
            "GoStandard { version: \"1.27-0123abcd\" }",
        ]
    );
}
