//! Starts a cluster: files, processes, readiness, objects. Each wait has an end, and a process
//! that dies ends it at once.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cluster::api::{Client, Refusal};
use crate::cluster::egress::{Proxy, nodes_directory};
use crate::cluster::forward::Pods;
use crate::cluster::parts::KUBECTL;
use crate::cluster::pki::{self, Pki};
use crate::cluster::plan::{self, HOST_IN_GUEST, Ports, SERVICE_IP};
use crate::cluster::ports::Port;
use crate::cluster::processes::Processes;
use crate::cluster::{Cluster, Directory, Event, Events, Options, Report, Token, files, objects};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;

/// How long the whole start may take. It is seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// From one look at whether something is ready to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// What a cluster is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Each program by its name: [`crate::cluster::parts::build`].
    pub programs: &'a BTreeMap<&'static str, PathBuf>,
    /// What the user wants.
    pub options: &'a Options,
    /// Seconds since 1970: certificates and the token are valid from now on.
    pub now: u64,
}

/// Starts a cluster and waits until nodes can join it and pods can be made. `None` if it was
/// interrupted; nothing is left then.
///
/// Must be called from a thread that lives as long as the cluster: its processes die with that.
///
/// # Errors
/// [`Id::ClusterInTheWay`], [`Id::ClusterStart`] with the last words of the process that failed,
/// [`Id::ClusterApi`] if the API server refuses an object, [`Id::Write`].
pub fn start(setup: &Setup<'_>, events: &Events, progress: &Progress) -> Result<Option<Cluster>> {
    let directory = directory(setup.options.dir.as_deref())?;
    let root = directory.path().canonicalize();
    let root = root.or_fail(Id::Read, || format!("`{}`", directory.path().display()))?;
    let ports = Ports {
        api_server: Port::reserve()?,
        controller_manager: Port::reserve()?,
        scheduler: Port::reserve()?,
    };
    let numbers = ports.map(Port::number);
    let token = File::open("/dev/urandom")
        .and_then(|mut random| Token::draw(&mut random))
        .or_fail(Id::ClusterStart, || "cannot draw a token")?;
    let pki = pki::make(setup.now, &["127.0.0.1", HOST_IN_GUEST, SERVICE_IP])
        .or_fail(Id::ClusterStart, || "cannot make certificates")?;
    let report = report(&root, &numbers, &token, &pki.ca.certificate);
    write_files(&report, &pki, &token, setup.programs)
        .or_fail(Id::Write, || format!("cannot write to `{}`", root.display()))?;
    let client = Client::new(report.server.as_str(), &pki.ca.certificate, &pki.admin)?;
    let pods = Pods {
        client: client.clone(),
        kubectl: report.kubectl.clone(),
        kubeconfig: report.kubeconfig.clone(),
    };
    let pods = move |target: &str| pods.connect(target);
    let proxy = Proxy::start(&root, plan::EGRESS_SOCKET, &report.nodes, pods)
        .or_fail(Id::ClusterStart, || "cannot listen for the API server's connections")?;
    let processes = Processes::new(&root, &report.logs);
    // From here on, dropping it takes everything away again.
    let cluster = Cluster { processes, proxy, _ports: ports, report, client, directory };
    Starting { cluster, events, programs: setup.programs, end: Instant::now() + PATIENCE }.run(
        &plan::plan(&numbers, setup.options.certificate_life),
        &objects::objects(&token, setup.now.saturating_add(setup.options.token_life.seconds())),
        progress,
    )
}

/// A cluster on its way.
struct Starting<'a> {
    cluster: Cluster,
    events: &'a Events,
    programs: &'a BTreeMap<&'static str, PathBuf>,
    end: Instant,
}

/// What came of waiting.
#[derive(PartialEq, Eq)]
enum Waited {
    Ready,
    Interrupted,
}

impl Starting<'_> {
    fn run(
        mut self,
        plan: &plan::Plan,
        objects: &[(&'static str, serde_json::Value)],
        progress: &Progress,
    ) -> Result<Option<Cluster>> {
        let task = progress.task("start etcd and kube-apiserver", None);
        self.process(&plan.etcd)?;
        self.process(&plan.api_server)?;
        let name = plan.api_server.name;
        if self.wait(name, "is not ready", Client::ready)? == Waited::Interrupted {
            return Ok(None);
        }
        task.done(self.cluster.report.server.clone());

        let task = progress.task("start kube-controller-manager and kube-scheduler", None);
        for (process, _) in &plan.clients {
            self.process(process)?;
        }
        for (process, port) in &plan.clients {
            let url = format!("https://127.0.0.1:{port}/healthz");
            let healthy = |client: &Client| client.probe(&url);
            if self.wait(process.name, "is not healthy", healthy)? == Waited::Interrupted {
                return Ok(None);
            }
        }
        for (path, object) in objects {
            let create = |client: &Client| client.create(path, object);
            let what = format!("does not take a `{}`", object["kind"].as_str().unwrap_or_default());
            if self.wait(name, &what, create)? == Waited::Interrupted {
                return Ok(None);
            }
        }
        // A pod needs it, and a cluster that is ready takes pods.
        let account = |client: &Client| client.get(objects::DEFAULT_SERVICE_ACCOUNT).map(drop);
        let what = "has made no service account";
        if self.wait(plan::CONTROLLER_MANAGER, what, account)? == Waited::Interrupted {
            return Ok(None);
        }
        let ids = self.cluster.processes.ids();
        self.cluster.report.processes = ids.map(|(name, id)| (name.to_owned(), id)).collect();
        task.done("ready");
        Ok(Some(self.cluster))
    }

    fn process(&mut self, process: &plan::Process) -> Result<()> {
        let program = self.programs.get(process.name).ok_or_else(|| {
            Error::new(Id::Bug, format!("`{}` is none of the programs", process.name))
        })?;
        self.cluster.processes.start(process, program, self.events.sender())
    }

    /// Tries until it works. `name` is the process that it depends on, `what` says of it that it
    /// does not work yet.
    fn wait(
        &mut self,
        name: &str,
        what: &str,
        attempt: impl Fn(&Client) -> Result<(), Refusal>,
    ) -> Result<Waited> {
        loop {
            let refusal = match attempt(&self.cluster.client) {
                Ok(()) => return Ok(Waited::Ready),
                Err(refusal) => lasting(name, what, refusal)?,
            };
            match self.events.next_within(PAUSE) {
                Some(Event::Ended(name)) => {
                    return Err(self.cluster.processes.ended(Id::ClusterStart, name));
                }
                Some(Event::Interrupted) => return Ok(Waited::Interrupted),
                None if Instant::now() < self.end => {}
                None => {
                    let seconds = PATIENCE.as_secs();
                    let log = self.cluster.processes.last_lines(name);
                    let message =
                        format!("`{name}` {what} after {seconds} s: {refusal}; its log ends:{log}");
                    return Err(Error::new(Id::ClusterStart, message));
                }
            }
        }
    }
}

/// What may pass comes back. A new API server says 403 and 404 until it has made its own roles
/// and namespaces.
fn lasting(name: &str, what: &str, refusal: Refusal) -> Result<Refusal> {
    match &refusal {
        Refusal::Status(status, _) if matches!(status.as_u16(), 400 | 405 | 413 | 415 | 422) => {
            Err(Error::new(Id::ClusterApi, format!("`{name}` {what}")).caused_by(refusal))
        }
        _ => Ok(refusal),
    }
}

/// Makes the cluster's directory, which nobody else may read: it holds keys.
fn directory(named: Option<&Path>) -> Result<Directory> {
    let Some(path) = named else {
        let made = tempfile::Builder::new().prefix("orlop-cluster-").tempdir();
        return made
            .map(Directory::Temporary)
            .or_fail(Id::Write, || "cannot make a temporary directory");
    };
    let in_the_way = |what: &str| {
        Error::new(Id::ClusterInTheWay, format!("`{}` {what}", path.display()))
            .hint("`--dir` takes a directory that does not exist, or an empty one")
    };
    match fs::read_dir(path).map(Iterator::count) {
        Ok(0) => {}
        Ok(_) => return Err(in_the_way("is not empty")),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(in_the_way("is not a directory"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.or_fail(Id::Write, || format!("cannot make `{}`", path.display()))?;
        }
        Err(error) => return Err(in_the_way("cannot be read").caused_by(error)),
    }
    Ok(Directory::Named(path.to_owned()))
}

fn report(root: &Path, ports: &Ports<u16>, token: &Token, ca: &str) -> Report {
    let port = ports.api_server;
    let ports = [
        (plan::API_SERVER, ports.api_server),
        (plan::CONTROLLER_MANAGER, ports.controller_manager),
        (plan::SCHEDULER, ports.scheduler),
    ];
    Report {
        directory: root.to_owned(),
        kubeconfig: root.join("kubeconfig"),
        server: format!("https://127.0.0.1:{port}"),
        guest_server: format!("https://{HOST_IN_GUEST}:{port}"),
        ca: ca.to_owned(),
        token: token.to_string(),
        kubectl: root.join("bin").join(KUBECTL),
        bin: root.join("bin"),
        node_config: root.join("node.toml"),
        nodes: nodes_directory(root),
        logs: root.join("logs"),
        ports: ports.into_iter().map(|(name, port)| (name.to_owned(), port)).collect(),
        processes: BTreeMap::new(),
    }
}

fn write_files(
    report: &Report,
    pki: &Pki,
    token: &Token,
    programs: &BTreeMap<&'static str, PathBuf>,
) -> io::Result<()> {
    let root = &report.directory;
    for directory in ["pki", "bin", "nodes", "logs"] {
        fs::create_dir(root.join(directory))?;
    }
    for (name, text) in files::pki(pki) {
        private(&root.join("pki").join(name), text)?;
    }
    let ca = &pki.ca.certificate;
    for (name, user, pair) in [
        ("kubeconfig", "admin", &pki.admin),
        ("controller-manager.kubeconfig", plan::CONTROLLER_MANAGER, &pki.controller_manager),
        ("scheduler.kubeconfig", plan::SCHEDULER, &pki.scheduler),
    ] {
        private(&root.join(name), &files::kubeconfig(&report.server, ca, user, pair))?;
    }
    private(&report.node_config, &files::node_config(&report.guest_server, ca, token))?;
    private(&root.join("egress.json"), &files::egress_selector())?;
    for (name, program) in programs {
        symlink(program, report.bin.join(name))?;
    }
    Ok(())
}

/// Writes a file which only its owner may read.
fn private(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cluster::events::Stdin;
    use crate::process::write_program;
    use crate::progress::Mode;

    /// Programs that are all the same script.
    fn programs(directory: &Path, script: &str) -> BTreeMap<&'static str, PathBuf> {
        let path = directory.join("program");
        write_program(&path, format!("#!/bin/sh\n{script}\n").as_bytes());
        let names = [plan::ETCD, plan::API_SERVER, plan::CONTROLLER_MANAGER, plan::SCHEDULER];
        names.into_iter().map(|name| (name, path.clone())).collect()
    }

    fn try_to_start(options: &Options, script: &str) -> Result<Option<Cluster>> {
        let directory = tempfile::tempdir().unwrap();
        let programs = programs(directory.path(), script);
        let events = Events::watch(Stdin::Ignored).unwrap();
        let setup = Setup { programs: &programs, options, now: crate::settings::now() };
        start(&setup, &events, &Progress::new(Mode::None))
    }

    #[test]
    fn a_process_that_dies_ends_the_start_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("cluster");
        let options = Options { dir: Some(dir.clone()), ..Options::default() };
        let script = "case $* in *--etcd-servers*) exec sleep 1000;; esac\n\
                      echo no space left >&2; exit 7";
        let error = try_to_start(&options, script).unwrap_err();
        assert_eq!(error.id(), Id::ClusterStart);
        assert_eq!(error.to_string(), "`etcd` ended with exit status: 7\n  no space left");
        assert!(!dir.join(plan::EGRESS_SOCKET).exists());
        assert!(dir.join("logs/etcd.log").exists());
        let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("kubeconfig"), mode("pki/ca.key")), (0o700, 0o600, 0o600));
    }

    #[test]
    fn what_the_api_server_will_never_take_ends_the_start_and_what_may_pass_does_not() {
        for (status, want) in [(422, true), (400, true), (403, false), (404, false), (500, false)] {
            let status = ureq::http::StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::Status(status, "a reason".to_owned());
            match lasting("kube-apiserver", "does not take a `Secret`", refusal) {
                Ok(_) => assert!(!want, "{status}"),
                Err(error) => {
                    assert_eq!(error.id(), Id::ClusterApi);
                    let code = status.as_u16();
                    let text =
                        format!("`kube-apiserver` does not take a `Secret`: {code}: a reason");
                    assert_eq!((error.chain(), want), (text, true));
                }
            }
        }
    }

    #[test]
    fn a_directory_that_is_in_use_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("precious");
        fs::write(&file, "x").unwrap();
        for (path, want) in [(directory.path(), "is not empty"), (&file, "is not a directory")] {
            let options = Options { dir: Some(path.to_owned()), ..Options::default() };
            let error = try_to_start(&options, "exit 1").unwrap_err();
            assert_eq!(error.id(), Id::ClusterInTheWay);
            assert!(error.to_string().ends_with(want), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }
}
