//! A project over the archive, and the real `orlop` run in it with nothing of this host's
//! environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use builder::process::Command;
use expect_test::Expect;
use tempfile::TempDir;

use crate::archive::Archive;
use crate::server::Server;
use crate::signers::Signer;

const RECIPE: &str = r#"schema = 1
name = "tiny"

[os]
id = "orlopos"
name = "OrlopOS"
version = "1.0"

[kernel]
package = "linux-image-cloud-amd64"
command-line = ["console=ttyS0"]
initrd-modules = ["dm-verity"]
modules = ["overlay", "ext4"]

[debian]
suites = ["trixie"]
components = ["main"]
keys = ["FINGERPRINT"]
keyring = "keyring.gpg"
packages = ["ca-certificates", "runc"]
tools = ["systemd-boot-efi"]
drop = ["/usr/share/doc/**"]

[local.init]
path = "init"
at = "/usr/lib/orlop/init"

[local.overlay]
path = "overlay"
at = "/"

[tree]
directories = ["/dev", "/proc", "/run", "/sys", "/var"]

[tree.ca-bundle]
from = "/usr/share/ca-certificates"
at = "/etc/ssl/certs/ca-certificates.crt"

[tree.symlinks]
"/bin" = "usr/bin"
"/sbin" = "usr/sbin"

[tree.executables]
"/usr/lib/orlop/init" = "init"
"/usr/sbin/runc" = "runc"

[disk]
esp = "36 MiB"
root = "8 MiB"
state = "16 MiB"
uki = "2 MiB"

[profile.debug.kernel]
command-line = { add = ["orlop.debug"] }
"#;

/// How one run of `orlop` ended.
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A directory with a project and a store, and a mirror that serves its packages.
pub(crate) struct Project {
    directory: TempDir,
    pub(crate) archive: Archive,
    pub(crate) server: Server,
}

impl Project {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (archive, server) = (Archive::new(), Server::start());
        server.serve(archive.publish());
        let project = Self { directory, archive, server };
        let signer = Signer::new(1);
        project.write("recipe.toml", RECIPE.replace("FINGERPRINT", &signer.fingerprint()));
        project.write("keyring.gpg", signer.keyring());
        project.write("init", "PID 1");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(project.path("init"), executable).unwrap();
        project.write("overlay/etc/motd", "hello\n");
        project
    }

    /// A project with its lock.
    pub(crate) fn locked() -> Self {
        let project = Self::new();
        project.good(&["lock"]);
        project.server.take_requests();
        project
    }

    /// The user's home.
    pub(crate) fn home(&self) -> &Path {
        self.directory.path()
    }

    /// A path of the project.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("project").join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Replaces the first `from` of the recipe.
    pub(crate) fn change(&self, from: &str, to: &str) {
        let recipe = String::from_utf8(self.read("recipe.toml")).unwrap();
        assert!(recipe.contains(from), "the recipe has no {from:?}");
        self.write("recipe.toml", recipe.replacen(from, to, 1));
    }

    /// Adds a package to the recipe's list.
    pub(crate) fn ask_for(&self, package: &str) {
        self.change("\"runc\"]", &format!("\"runc\", \"{package}\"]"));
    }

    /// `orlop` with these words, not yet started.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_with(words, &format!("{}/debian", self.server.url()))
    }

    fn command_with(&self, words: &[&str], mirror: &str) -> Command {
        self.placed(Command::new(env!("CARGO_BIN_EXE_orlop")), mirror).args(words)
    }

    /// In the project's directory, with nothing in its environment but what is the project's.
    pub(crate) fn placed(&self, command: Command, mirror: &str) -> Command {
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("PATH", self.path("bin"))
            .env("ORLOP_STORE", self.store())
            .env("ORLOP_DEBIAN_MIRROR", mirror)
            .directory(&self.path(""))
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.end(start(self.command(words)))
    }

    /// As `run`, with another mirror.
    pub(crate) fn run_with_mirror(&self, words: &[&str], mirror: &str) -> Ended {
        self.end(start(self.command_with(words, mirror)))
    }

    /// Waits for the end of a run.
    pub(crate) fn end(&self, child: Child) -> Ended {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| self.plain(&String::from_utf8(bytes).unwrap());
        Ended {
            status: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Runs what must succeed, and returns what it wrote.
    #[track_caller]
    pub(crate) fn good(&self, words: &[&str]) -> Ended {
        let ended = self.run(words);
        assert_eq!(ended.status, Some(0), "{words:?}\n{}", ended.stderr);
        ended
    }

    /// Runs what must fail: nothing on stdout, and `want` is status and stderr.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str], want: Expect) {
        let words = [words, &["--progress", "none"]].concat();
        refusal(&self.run(&words), want);
    }

    /// Without what differs from run to run: directories, ports, digests.
    fn plain(&self, text: &str) -> String {
        let directory = fs::canonicalize(self.directory.path()).unwrap();
        let text = text
            .replace(directory.to_str().unwrap(), "DIR")
            .replace(self.directory.path().to_str().unwrap(), "DIR")
            .replace(&self.server.url(), "MIRROR");
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            let digits =
                rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
            let taken = if digits == 64 { digits } else { digits.max(c.len_utf8()) };
            plain.push_str(if digits == 64 { "SHA256" } else { &rest[..taken] });
            rest = &rest[taken..];
        }
        plain
    }
}

/// Starts `orlop` with both streams kept.
pub(crate) fn start(command: Command) -> Child {
    command
        .spawn(|command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        })
        .unwrap()
}

/// That a run failed, wrote nothing to stdout, and said `want`: status and stderr.
#[track_caller]
pub(crate) fn refusal(ended: &Ended, want: Expect) {
    assert_eq!(ended.stdout, "", "a failure has no result");
    let status = ended.status.map_or("signal".to_owned(), |status| status.to_string());
    want.assert_eq(&format!("exit {status}\n{}", ended.stderr));
}

/// The repository that this crate stands in.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
