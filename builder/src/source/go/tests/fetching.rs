//! What `fetch` brings and from where, what reaches it, and that a build needs nothing else.

use std::path::PathBuf;

use super::testing::RESOLVES;
use super::*;

const PROGRAM: &str = "component.example/tool";
const LIBRARY: &str = "library.example/Words";

/// A component which needs a module, and the proxy that has it and the toolchain.
struct World {
    directory: tempfile::TempDir,
    proxy: MadeUp,
    toolchain: String,
}

impl World {
    /// The toolchain is one that this host has itself, and must not be used for that.
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self {
            proxy: MadeUp::new(directory.path().join("proxy")),
            directory,
            toolchain: host().1,
        };
        world.proxy.toolchain(&world.toolchain, script);
        // A name with a capital letter, a version without a `go.mod`, a module in another's place.
        for (module, version, name, has_gomod) in [
            (LIBRARY, "v1.0.0", "words", true),
            ("old.example/lib", "v2.0.0+incompatible", "lib", false),
            ("kept.example/fork", "v1.2.0", "fork", true),
        ] {
            let gomod = format!("module {module}\n");
            let source = format!("package {name}\n\nfunc Hello() string {{ return \"{name}\" }}\n");
            let files = [("x.go", source.as_str()), ("go.mod", gomod.as_str())];
            let files = if has_gomod { &files[..] } else { &files[..1] };
            world.proxy.module(module, version, &gomod, files);
        }
        let line = world.toolchain.trim_start_matches("go");
        let gomod = format!(
            "module {PROGRAM}\n\ngo {line}\n\ntool {PROGRAM}\n\nrequire (\n\t\
             gone.example/fork v1.0.0\n\t{LIBRARY} v1.0.0\n\t\
             old.example/lib v2.0.0+incompatible\n)\n\n\
             replace gone.example/fork => kept.example/fork v1.2.0\n"
        );
        world.write("tool/go.mod", &gomod);
        let main = format!(
            "package main\n\nimport (\n\tfork \"gone.example/fork\"\n\twords \"{LIBRARY}\"\n\t\
             lib \"old.example/lib\"\n)\n\n\
             func main() {{ println(fork.Hello(), words.Hello(), lib.Hello()) }}\n"
        );
        world.write("tool/main.go", &main);
        // As whoever wrote the component did.
        let go = Command::new(host().0).directory(&world.path("tool")).env_clear();
        let caches = Caches::below(&world.path("author"));
        let tidy = [
            ("GOPROXY", world.proxy.url().as_str()),
            ("GOSUMDB", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", "-modcacherw"),
            ("GOCACHE", caches.go_build.to_str().unwrap()),
            ("GOPATH", caches.go_mod.to_str().unwrap()),
        ]
        .into_iter()
        .fold(go, |go, (name, value)| go.env(name, value));
        tidy.args(["mod", "tidy"]).run().unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn component(&self) -> Component {
        let at = ImagePath::try_from("/usr/bin/tool".to_owned()).unwrap();
        Component::load(
            &model::Go {
                module: self.path("tool"),
                tags: BTreeSet::new(),
                stamp: BTreeMap::new(),
                programs: BTreeMap::from([(PROGRAM.to_owned(), at)]),
            },
            Architecture::Amd64,
        )
        .unwrap()
    }

    fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    fn caches(&self) -> Caches {
        Caches::below(&self.path("caches"))
    }

    /// A user's environment, with more variables.
    fn environment(&self, more: &[(&str, &str)]) -> Environment {
        let url = self.proxy.url();
        let home = self.path("home");
        // Its process outlives Go, and this directory may be gone by then.
        let telemetry = home.join(".config/go/telemetry");
        fs::create_dir_all(&telemetry).unwrap();
        fs::write(telemetry.join("mode"), "off").unwrap();
        let path = std::env::var("PATH").unwrap();
        let own = [
            ("PATH", path.as_str()),
            ("HOME", home.to_str().unwrap()),
            ("GOPROXY", url.as_str()),
            ("GOSUMDB", "off"),
        ];
        let all = own.iter().chain(more);
        Environment::new(all.map(|(name, value)| (name.into(), value.into())))
    }

    fn fetch(&self, more: &[(&str, &str)]) -> Result<()> {
        self.component().fetch(&self.environment(more), &self.caches(), &self.store())
    }

    fn build(&self, caches: &Caches, more: &[(&str, &str)]) -> Result<String> {
        let (component, store) = (self.component(), self.store());
        let toolchain = component.toolchain(&store)?;
        let environment = self.environment(more);
        let built = component.build(&toolchain, &environment, caches, &store, 1)?;
        Ok(String::from_utf8_lossy(&store.read_blob(&built[PROGRAM]).unwrap()).into_owned())
    }

    /// All files of the component and what they hold.
    fn sources(&self) -> BTreeMap<String, Sha256> {
        files::digests(&self.path("tool"), |_| false).unwrap()
    }
}

const BUILT: &str = "gone.example/fork v1.0.0\nlibrary.example/Words v1.0.0\n\
    old.example/lib v2.0.0+incompatible\ncomponent.example/tool \n\
    made by the one that was fetched\n";

#[test]
fn a_store_alone_builds_by_the_toolchain_that_was_fetched_though_the_host_has_the_same() {
    let world = World::new(RESOLVES);
    assert!(!world.component().is_fetched(&world.store()).unwrap());
    world.fetch(&[]).unwrap();
    assert!(world.component().is_fetched(&world.store()).unwrap());
    assert_eq!(world.build(&world.caches(), &[]).unwrap(), BUILT);

    // The store is carried to a machine without network, where nothing was ever built.
    fs::remove_dir_all(world.path("proxy")).unwrap();
    fs::remove_dir_all(world.path("caches")).unwrap();
    let elsewhere = Caches::below(&world.path("odd, na%me|"));
    assert_eq!(world.build(&elsewhere, &[("GOPROXY", "off")]).unwrap(), BUILT);
    // What is there is not fetched again, and somebody's clean-up costs no more than time.
    world.fetch(&[("GOPROXY", "off")]).unwrap();
    fs::remove_dir_all(&elsewhere.go_mod).unwrap();
    assert_eq!(world.build(&elsewhere, &[("GOPROXY", "off")]).unwrap(), BUILT);
}

#[test]
fn a_user_has_the_same_access_in_fetch_as_by_hand_and_a_build_sees_nothing_of_it() {
    let access = [
        ("GIT_ASKPASS", "/bin/askpass"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_SSH_COMMAND", "ssh -i key"),
        ("GOAUTH", "netrc"),
        ("GOENV", "/etc/goenv"),
        ("GOPRIVATE", "git.example"),
        ("GOVCS", "*:git"),
        ("HELPERS_TOKEN", "secret"),
        ("NETRC", "/etc/netrc"),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("XDG_CONFIG_HOME", "/etc/xdg"),
        ("https_proxy", "http://proxy.example"),
    ];
    let steering = [
        ("CGO_CFLAGS", "-O0"),
        ("GOARCH", "arm64"),
        ("GOEXPERIMENT", "nope"),
        ("GOFLAGS", "-mod=vendor"),
        ("GOROOT", "/nowhere"),
        ("GOWORK", "/nowhere/go.work"),
    ];
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let env = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|path| path.join("env"))
        .find(|path| path.is_file())
        .unwrap();
    let note = format!("{} > '{}'-\"$1\"\n", env.display(), seen.display());
    let world = World::new(&format!("{note}{RESOLVES}"));
    world.fetch(&[&access[..], &steering].concat()).unwrap();
    world.build(&world.caches(), &[&access[..], &steering].concat()).unwrap();
    let seen = |by: &str| -> BTreeMap<String, String> {
        let text = fs::read_to_string(format!("{}-{by}", seen.display())).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let by_fetch = seen("mod");
    for (name, value) in access {
        assert_eq!(by_fetch.get(name).map(String::as_str), Some(value), "{name}");
    }
    for (name, value) in steering {
        assert_ne!(by_fetch.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!((by_fetch["GOWORK"].as_str(), by_fetch["GOFLAGS"].as_str()), ("off", "-modcacherw"));
    let by_build = seen("build");
    let names: Vec<_> = by_build.keys().map(String::as_str).collect();
    let shell = ["OLDPWD", "PWD", "SHLVL", "_"];
    let names: Vec<_> = names.into_iter().filter(|name| !shell.contains(name)).collect();
    assert_eq!(
        names,
        [
            "CGO_ENABLED",
            "GO111MODULE",
            "GOAMD64",
            "GOARCH",
            "GOCACHE",
            "GOENV",
            "GOFLAGS",
            "GOMODCACHE",
            "GOOS",
            "GOPATH",
            "GOPROXY",
            "GOSUMDB",
            "GOTOOLCHAIN",
            "GOWORK",
            "PATH",
        ]
    );
    assert!(by_build["PATH"].ends_with("/bin") && by_build["PATH"].contains("toolchain@"));
}

/// golang/go#51604: a workspace above knows nothing of the component.
#[test]
fn a_workspace_above_changes_nothing_and_fetch_writes_nothing_into_the_component() {
    let world = World::new(RESOLVES);
    world.write("go.work", "go 1.24.0\n\nuse ./other\n");
    world.write("other/go.mod", "module other.example/other\n\ngo 1.24\n");
    world.write("tool/vendor/modules.txt", "# none\n");
    // Go would add what is not there.
    let sum = fs::read_to_string(world.path("tool/go.sum")).unwrap();
    let most: Vec<_> = sum.lines().filter(|line| !line.contains("/go.mod ")).collect();
    assert_ne!(most.len(), sum.lines().count());
    world.write("tool/go.sum", &format!("{}\n", most.join("\n")));
    let before = world.sources();
    world.fetch(&[]).unwrap();
    assert_eq!(world.sources(), before);

    world.write("tool/go.sum", &sum);
    world.fetch(&[]).unwrap();
    assert_eq!(world.build(&world.caches(), &[]).unwrap(), BUILT);
}

#[test]
fn the_digest_of_the_toolchain_is_an_input_and_another_one_in_the_cache_is_refused() {
    let world = World::new(RESOLVES);
    world.fetch(&[]).unwrap();
    let inputs = |world: &World| {
        let toolchain = world.component().toolchain(&world.store()).unwrap();
        world.component().inputs(&toolchain).unwrap().lines().to_vec()
    };
    let before = inputs(&world);
    assert!(before[0].starts_with(&format!("toolchain {} h1:", world.toolchain)), "{}", before[0]);

    // A mirror whose toolchain of this name is another one.
    world.proxy.toolchain(&world.toolchain, &format!("{RESOLVES}\n# patched"));
    fs::remove_dir_all(world.path("store")).unwrap();
    fs::remove_dir_all(world.path("caches")).unwrap();
    world.fetch(&[]).unwrap();
    let now = inputs(&world);
    assert_eq!(now[1..], before[1..]);
    assert_ne!(now[0], before[0]);

    let toolchain = Path::new("golang.org/toolchain/@v");
    let download = world.caches().go_download().join(toolchain);
    let noted = fs::read_dir(&download).unwrap().map(|entry| entry.unwrap().path());
    let noted = noted.into_iter().find(|path| path.to_str().unwrap().ends_with("ziphash"));
    fs::write(noted.unwrap(), "h1:another").unwrap();
    let error = world.build(&world.caches(), &[]).unwrap_err();
    assert_eq!(error.id(), Id::WrongDigest);
    let hint = &error.hints()[0];
    assert!(hint.contains("it is made again from the store"), "{hint}");
    fs::remove_dir_all(world.caches().go_mod).unwrap();
    world.build(&world.caches(), &[]).unwrap();
}

#[test]
fn what_is_not_fetched_is_not_built() {
    let world = World::new(RESOLVES);
    let error = world.build(&world.caches(), &[]).unwrap_err();
    assert_eq!(error.id(), Id::GoNotFetched);
    assert_eq!(error.to_string(), format!("the toolchain `{}` is not fetched", world.toolchain));
    world.fetch(&[]).unwrap();

    // The record is there, and a blob is not.
    let empty = Caches::below(&world.path("empty"));
    let store = world.store();
    for (path, _) in store.blobs().unwrap() {
        fs::remove_file(path).unwrap();
    }
    assert!(!world.component().is_fetched(&store).unwrap());
    let error = world.build(&empty, &[]).unwrap_err();
    assert_eq!(error.id(), Id::GoNotFetched, "{}", error.chain());
    world.fetch(&[]).unwrap();
    assert_eq!(world.build(&empty, &[]).unwrap(), BUILT);

    // Other sums are other modules.
    let sum = fs::read_to_string(world.path("tool/go.sum")).unwrap();
    world.write("tool/go.sum", &format!("{sum}\n"));
    let error = world.build(&Caches::below(&world.path("third")), &[]).unwrap_err();
    assert_eq!(error.id(), Id::GoNotFetched, "{}", error.chain());
    assert_eq!(error.to_string(), format!("the modules of `{PROGRAM}` are not fetched"));
}

#[test]
fn a_program_that_needs_c_is_refused_in_words() {
    let world = World::new(COMPILES);
    world.fetch(&[]).unwrap();
    let c = "package main\n\n// #include <stdlib.h>\nimport \"C\"\n\nfunc main() { C.free(nil) }\n";
    world.write("tool/main.go", c);
    let error = world.build(&world.caches(), &[]).unwrap_err();
    assert_eq!(error.id(), Id::GoNeedsC, "{}", error.chain());
    assert_eq!(
        error.to_string(),
        "programs of an image hold no C, and `component.example/tool` cannot do without"
    );
    // Other mistakes are told in Go's own words.
    world.write("tool/main.go", "package main\n\nimport _ \"no/such/package\"\n\nfunc main() {}\n");
    let error = world.build(&world.caches(), &[]).unwrap_err();
    assert_eq!(error.id(), Id::ToolFailed);
    assert!(error.to_string().contains("no/such/package is not in std"), "{error}");
}

#[test]
fn a_package_behind_a_link_is_refused_for_nothing_watches_it() {
    let world = World::new(RESOLVES);
    world.write("elsewhere/elsewhere.go", "package elsewhere\n");
    std::os::unix::fs::symlink("../elsewhere", world.path("tool/linked")).unwrap();
    world.fetch(&[]).unwrap();
    assert_eq!(world.build(&world.caches(), &[]).unwrap(), BUILT, "a link that nothing imports");

    let import = "package main\n\nimport _ \"component.example/tool/linked\"\n\nfunc main() {}\n";
    world.write("tool/main.go", import);
    let error = world.build(&world.caches(), &[]).unwrap_err();
    assert_eq!(error.id(), Id::GoModule, "{}", error.chain());
    assert!(error.to_string().ends_with("elsewhere`, which is not watched for changes"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written_is_told_with_what_helps() {
    let error = Caches::below(Path::new("/dev/null/.cache/orlop")).check_go().unwrap_err();
    assert_eq!(error.id(), Id::Write);
    assert_eq!(error.to_string(), "cannot write to the cache `/dev/null/.cache/orlop/go`");
    assert_eq!(error.hints(), ["`XDG_CACHE_HOME` names another directory for caches"]);
    let error = Caches::below(Path::new("/tmp/a:b")).check_go().unwrap_err();
    assert_eq!(error.to_string(), "Go takes `/tmp/a:b/go` for a list, for the `:`");
}

#[test]
fn a_toolchain_that_nobody_vouches_for_is_not_believed() {
    let world = World::new(RESOLVES);
    // A list of proxies: with a single one on disk Go asks nobody.
    let list = format!("{},off", world.proxy.url());
    let error = world.fetch(&[("GOPROXY", &list)]).unwrap_err();
    assert_eq!(error.id(), Id::ToolFailed);
    let hints = error.hints().join("\n");
    assert!(hints.contains("`GOSUMDB` must name one"), "{error}\n{hints}");
}
