//! What apt itself makes of generated files: `apt-get indextargets` of sources, `apt-config` of
//! settings, and what its method sends to a server on loopback.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::conf::Conf;
use super::*;
use crate::credentials::{Address, Logins, Scheme};
use crate::http::Proxies;
use crate::http::loopback::{Answer, Server};
use crate::process::Command;

/// A host's root, and the file that makes apt look there and nowhere else.
pub(super) struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        for name in ["etc/apt", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let text = format!(
            "Dir \"{root}/\";\nDir::State::status \"{root}/status\";\nDir::Bin::methods \
             \"/usr/lib/apt/methods\";\nAPT::Architecture \"amd64\";\nAPT::Architectures \
             {{ \"amd64\"; }};\nAPT::Sandbox::User \"\";\nAcquire::Retries \"0\";\n"
        );
        fs::write(directory.path().join("apt"), text).unwrap();
        fs::write(directory.path().join("status"), "").unwrap();
        Self { directory }
    }

    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.root().join("etc/apt").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn apt(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let command = Command::new(program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("APT_CONFIG", self.root().join("apt"))
            .args(arguments);
        command.run().map(|output| String::from_utf8_lossy(&output).into_owned())
    }
}

/// Numbers that look drawn and are the same every time.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    pub(super) fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

type Targets = BTreeSet<(String, String, String)>;

/// apt writes an address in a form of its own: `file:/x` for `file:///x`.
fn plain(uri: &str) -> String {
    uri.trim_end_matches('/').replace(['[', ']'], "").replacen("://", ":", 1)
}

/// Address, suite and component of every index that apt would fetch, if it takes the sources.
fn apts_targets(host: &Host) -> Option<Targets> {
    let format = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)";
    let filter = ["Created-By: Packages", "Architecture: amd64"];
    let arguments =
        [&["indextargets", "--no-release-info", "--format", format][..], &filter[..]].concat();
    let output = host.apt("apt-get", &arguments).ok()?;
    let line = |line: &str| {
        let mut words = line.split('|').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        (plain(&word()), word(), word())
    };
    Some(output.lines().map(line).collect())
}

fn our_targets(host: &Host) -> Targets {
    let mut targets = Targets::new();
    for (_, source) in read_sources(host.root(), Architecture::Amd64).unwrap() {
        for uri in &source.uris {
            for suite in &source.suites {
                for component in &source.components {
                    targets.insert((plain(uri), suite.clone(), component.clone()));
                }
            }
        }
    }
    targets
}

fn one_line(numbers: &mut Numbers) -> String {
    let kind = numbers.one_of(&["deb", "deb", "deb", "deb-src", " deb", "\tdeb", "#deb", "# deb"]);
    let options = numbers.one_of(&[
        "",
        "",
        "[arch=amd64]",
        "[ arch=amd64,arm64 ]",
        "[arch=arm64]",
        "[arch-=amd64]",
        "[ arch+=arm64 trusted=yes ]",
        "[signed-by=/usr/share/keyrings/a.gpg arch=amd64 ]",
        "[ signed-by=/a.gpg,/b.gpg ]",
        "[trusted=yes check-valid-until=no]",
        "[lang=en]",
    ]);
    let uri = numbers.one_of(&[
        "http://one.example/debian",
        "http://two.example/debian/",
        "https://three.example:8443/$(ARCH)/debian",
        "file:/srv/mirror/debian",
        "file:///srv/mirror",
        "copy:/srv/mirror",
        "cdrom:[Debian 13 trixie]/",
        "mirror+file:/etc/apt/mirrors.txt",
        "http://four.example/a%20b",
        "\"http://five.example/a\"",
    ]);
    let suite =
        numbers.one_of(&["trixie", "trixie-updates", "sid", "\"bookworm\"", "buster/updates"]);
    let components =
        numbers.one_of(&["main", "main contrib", "main  non-free\tcontrib", "main #x y"]);
    let end = numbers.one_of(&["", " ", " # a comment", "\r", "\t"]);
    let space = numbers.one_of(&[" ", "\t", "  "]);
    format!("{kind}{space}{options}{space}{uri}{space}{suite} {components}{end}\n")
}

fn paragraph(numbers: &mut Numbers) -> String {
    let mut fields = vec![
        format!("Types: {}", numbers.one_of(&["deb", "deb deb-src", "deb-src", "deb\n deb-src"])),
        format!(
            "{}: {}",
            numbers.one_of(&["URIs", "uris", "URIS"]),
            numbers.one_of(&[
                "http://one.example/debian",
                "http://one.example/debian/ http://two.example/debian",
                "http://one.example/a\n# http://no.example/a\n http://two.example/b",
                "\n file:/srv/mirror",
                "https://three.example/$(ARCH)",
            ])
        ),
        format!(
            "Suites: {}",
            numbers.one_of(&["trixie", "trixie trixie-updates", "sid\n trixie", "$(ARCH)-x"])
        ),
        format!(
            "Components: {}",
            numbers.one_of(&["main", "main contrib", "main\n contrib\n#no\n"])
        ),
    ];
    let option = numbers.one_of(&[
        "",
        "",
        "Enabled: no",
        "Enabled: No",
        "Enabled: 0",
        "enabled: false",
        "Enabled: yes",
        "Enabled: perhaps",
        "Architectures: amd64",
        "Architectures: arm64 amd64",
        "Architectures: arm64",
        "Architectures-Remove: amd64",
        "Architectures-Add: arm64",
        "Signed-By: /usr/share/keyrings/a.gpg",
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBGPL0BUBEADmW5Nd\n -----END PGP PUBLIC KEY BLOCK-----",
        "X-Repolib-Name: a name",
        "Trusted: yes",
    ]);
    if !option.is_empty() {
        fields.insert(numbers.below(fields.len() + 1), option.to_owned());
    }
    let mut text = String::new();
    for field in &fields {
        if numbers.below(5) == 0 {
            text.push_str("# a comment: with a colon\n");
        }
        let _ = writeln!(text, "{}", field.trim_end_matches('\n'));
    }
    text
}

#[test]
fn apt_reads_sources_as_we_do() {
    let mut taken = 0;
    for seed in 0..100 {
        let mut numbers = Numbers(seed);
        let host = Host::new();
        let mut lines = String::new();
        for _ in 0..numbers.below(4) {
            lines.push_str(&one_line(&mut numbers));
        }
        let mut paragraphs = String::new();
        for _ in 0..numbers.below(3) {
            let end = numbers.one_of(&["\n", "\n\n", "\n# between\n\n", " \n"]);
            let _ = write!(paragraphs, "{}{end}", paragraph(&mut numbers));
        }
        host.write("sources.list", &lines);
        host.write("sources.list.d/b.sources", &paragraphs);
        host.write(numbers.one_of(&["sources.list.d/a.list", "sources.list.d/a.list.off"]), &lines);
        let Some(apts) = apts_targets(&host) else { continue };
        taken += 1;
        assert_eq!(our_targets(&host), apts, "seed {seed}\n{lines}\n--\n{paragraphs}");
    }
    assert!(taken > 50, "apt took {taken} of the lists");
}

#[test]
fn apt_reads_settings_as_we_do() {
    let statements = [
        "Acquire::http::Proxy \"http://one.example:3128\";\n",
        "acquire::HTTP::proxy \"http://two.example/\"; // said before\n",
        "Acquire { http { Proxy \"http://three.example\"; }; };\n",
        "Acquire::http {\n  Proxy::Near.example \"DIRECT\";\n  Timeout 10;\n}\n",
        "Acquire::http::Proxy { \"far.example\" \"http://four.example\"; };\n",
        "Acquire::https::Proxy \"DIRECT\";\n",
        "Acquire::https::Proxy::near.example 'x';\n",
        "# Acquire::http::Proxy \"http://comment.example\";\n",
        "// Acquire::http::Proxy \"http://comment.example\";\n",
        "/* Acquire::http::Proxy \"http://comment.example\";\n */ Acquire::Retries 3;\n",
        "#clear Acquire::http::Proxy;\n",
        "#clear Acquire::http;\n",
        "Acquire::http::Proxy \"http://semi.example/;x\";\n",
        "Acquire::http::Proxy\n  \"http://next.example\"\n;\n",
        "Acquire::http::Proxy \"\";\n",
        "Acquire::http::Proxy http://bare.example:1/;\n",
        "Acquire::http::Proxy false;\n",
        "DPkg::Post-Invoke { \"rm -f /a || true\"; \"echo {x};\"; };\n",
        "APT::NeverAutoRemove { \"^linux.*\"; };\n",
        "Acquire::http::Proxy-Auto-Detect \"/usr/bin/proxy\"; Acquire::Languages { \"en\"; };\n",
    ];
    let names =
        ["Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::http::Proxy-Auto-Detect"];
    let hosts = ["near.example", "far.example"];
    let mut taken = 0;
    for seed in 0..60 {
        let mut numbers = Numbers(seed);
        let host = Host::new();
        let mut all = String::new();
        for file in ["apt.conf.d/10a", "apt.conf.d/20b.conf", "apt.conf.d/05c.bak", "apt.conf"] {
            let mut text = String::new();
            for _ in 0..numbers.below(4) {
                text.push_str(numbers.one_of(&statements));
            }
            host.write(file, &text);
            let _ = writeln!(all, "-- {file}\n{text}");
        }
        let Ok(dump) = host.apt("apt-config", &["dump", "--format", "%F=%v%n"]) else { continue };
        taken += 1;
        let conf = Conf::read(host.root());
        let of_hosts = ["http", "https"]
            .into_iter()
            .flat_map(|scheme| hosts.map(|host| format!("Acquire::{scheme}::Proxy::{host}")));
        for name in names.map(str::to_owned).into_iter().chain(of_hosts) {
            let start = format!("{}=", name.to_lowercase());
            let found = dump.lines().find(|line| line.to_lowercase().starts_with(&start));
            let apts = found.and_then(|line| line.get(start.len()..)).unwrap_or_default();
            assert_eq!(conf.get(&name).unwrap_or_default(), apts, "seed {seed} {name}\n{all}");
        }
    }
    assert!(taken > 30, "apt took {taken} of the settings");
}

/// What apt's own method sends when it is asked for a file.
fn apt_asks(host: &Host, server: &Server, url: &str) -> Option<String> {
    let into = host.root().join("file").display().to_string();
    // That the file is there or not is not of interest: the request is.
    drop(host.apt("/usr/lib/apt/apt-helper", &["download-file", url, &into]));
    server.requests().last().cloned()
}

fn header(head: &str, name: &str) -> Option<String> {
    let line = |line: &str| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.lines().find_map(line)
}

#[test]
fn apt_gives_passwords_to_the_servers_to_which_we_do() {
    let server = Server::start([Answer::Whole(b"abc".to_vec())]);
    let url = server.url("debian/dists/x");
    let place = url.strip_prefix("http://").unwrap();
    let port = place.split(['/', ':']).nth(1).unwrap();
    let machines = [
        "127.0.0.1".to_owned(),
        "http://127.0.0.1".to_owned(),
        "https://127.0.0.1".to_owned(),
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}/deb"),
        format!("http://127.0.0.1:{port}/debian/dists/x"),
        format!("http://127.0.0.1:{port}/debian/dists/x/y"),
        format!("http://127.0.0.1:{port}/ubuntu"),
        "http://127.0.0.1/debian".to_owned(),
        "http://127.0.0.1:1".to_owned(),
        "http://127.0.0.2".to_owned(),
        "HTTP://127.0.0.1".to_owned(),
    ];
    for machine in &machines {
        for form in [
            format!("machine {machine} login a password b\n"),
            format!("machine {machine}\n\tlogin a\n\tpassword b\nmachine other login c password d"),
            format!("# machine {machine} login a password b\n"),
            format!("machine other login c password d machine {machine} password b#b login a"),
            format!("default login a password b machine {machine} login \"q\" password b"),
        ] {
            let host = Host::new();
            host.write("auth.conf.d/a.conf", &form);
            let apts = header(&apt_asks(&host, &server, &url).unwrap(), "authorization");
            let logins = Logins::default().with_apt(host.root());
            let ours = logins.find(&Address::parse(&url).unwrap()).map(|login| login.basic());
            assert_eq!(ours, apts, "{form}");
        }
    }
}

#[test]
fn apt_goes_through_the_proxies_through_which_we_go() {
    let proxy = Server::start([Answer::Whole(b"abc".to_vec())]);
    let (of_proxy, place) = (proxy.url(""), "http://mirror.invalid/debian/x");
    for (text, environment) in [
        (format!("Acquire::http::Proxy \"{of_proxy}\";"), None),
        (
            format!("Acquire::http::Proxy::mirror.invalid \"{of_proxy}\";"),
            Some("http://127.0.0.1:9"),
        ),
        (format!("Acquire::http::Proxy \"{of_proxy}\";"), Some("http://127.0.0.1:9")),
        (
            format!(
                "Acquire::http::Proxy \"http://127.0.0.1:9\";\nAcquire::http {{ Proxy {{ \
                 mirror.invalid \"{of_proxy}\"; }}; }};"
            ),
            None,
        ),
    ] {
        let host = Host::new();
        host.write("apt.conf.d/proxy", &text);
        let before = proxy.requests().len();
        let head = apt_asks(&host, &proxy, place).unwrap();
        assert_eq!(proxy.requests().len(), before + 1, "{text}");
        assert!(head.starts_with(&format!("GET {place} HTTP/1.1\r\n")), "{head}");
        let theirs = Proxies { http: environment.map(str::to_owned), ..Proxies::default() };
        let proxies = Conf::read(host.root()).proxies(theirs);
        let key = (Scheme::Http, "mirror.invalid".to_owned());
        let ours = proxies.by_host.get(&key).unwrap_or(&proxies.http);
        assert_eq!(ours.as_deref(), Some(&*of_proxy), "{text}");
    }
    for text in ["Acquire::http::Proxy \"DIRECT\";", "Acquire::http::Proxy \"false\";"] {
        let host = Host::new();
        host.write("apt.conf.d/proxy", text);
        let environment = Proxies { http: Some(of_proxy.clone()), ..Proxies::default() };
        assert_eq!(Conf::read(host.root()).proxies(environment).http, None, "{text}");
    }
}
