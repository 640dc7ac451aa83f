//! What a person may ask of `orlop run`, parsed into types that cannot be wrong.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::recipe::model::Mib;
use crate::run::kept;

/// Arguments of `orlop run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to boot: a directory made by `orlop build`, a disk image (raw or qcow2), or a recipe,
    /// which is built first
    #[arg(default_value = "recipe.toml")]
    pub image: PathBuf,
    /// Give kernel, initrd and command line to QEMU instead of booting through firmware and loader
    #[arg(long)]
    pub direct: bool,
    /// What runs the guest's instructions; `auto` takes KVM if a probe shows that it works
    #[arg(long, value_enum, default_value_t = AccelChoice::Auto)]
    pub accel: AccelChoice,
    /// Memory of the guest
    #[arg(long, value_name = "SIZE", default_value = "2 GiB", value_parser = mib)]
    pub memory: Mib,
    /// Processors of the guest [default: 2, or 1 where QEMU can translate in one thread only]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub cpus: Option<u8>,
    /// Make the guest's disk this large, such as "8 GiB": the node grows STATE at its first boot
    /// [default with --cluster: 8 GiB]
    #[arg(long, value_name = "SIZE", value_parser = mib)]
    pub disk_size: Option<Mib>,
    /// Keep what the guest writes in FILE, made if missing: the next run continues from it
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,
    /// Give the guest its disk as memory, an NVDIMM, at the speed of memory; what it writes is
    /// thrown away
    #[arg(long, requires = "direct", conflicts_with_all = ["disk", "disk_size"])]
    pub pmem: bool,
    /// Let the guest's clock count instructions, 2^SHIFT ns each: the same boot takes the same time
    /// on any host and under any load. One processor, without KVM
    #[arg(long, value_name = "SHIFT", value_parser = clap::value_parser!(u8).range(0..=10),
          conflicts_with_all = ["accel", "cpus"])]
    pub icount: Option<u8>,
    /// Forward a TCP port of this host's loopback address to the guest
    #[arg(long, value_name = "HOST:GUEST", conflicts_with = "no_network")]
    pub forward: Vec<Forward>,
    /// Where the console goes: `terminal`, or a file; `auto` is the terminal, but with --cluster
    /// on a terminal a file, for the table of nodes and pods has the terminal then
    #[arg(long, value_name = "terminal|FILE", default_value = "auto")]
    pub serial: Serial,
    /// Wait until the guest has come this far, power it off in order, and succeed
    #[arg(long, value_enum, requires_if("ready", "cluster"))]
    pub until: Option<Until>,
    /// Give up after this time, such as 90s or 15m [default: 15m with --until, else never]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Timeout>,
    /// UEFI firmware to use instead of the host's
    #[arg(long, value_name = "FILE", requires = "uefi_vars", conflicts_with = "direct")]
    pub uefi_code: Option<PathBuf>,
    /// Fresh UEFI variables that belong to --uefi-code; a copy is used
    #[arg(long, value_name = "FILE", requires = "uefi_code")]
    pub uefi_vars: Option<PathBuf>,
    /// Give the node this configuration, checked first
    #[arg(long, value_name = "FILE", conflicts_with = "no_config")]
    pub config: Option<PathBuf>,
    /// Give the node no configuration, not even the demonstration that an image with kubelet gets
    #[arg(long)]
    pub no_config: bool,
    /// Give the guest no network
    #[arg(long)]
    pub no_network: bool,
    /// Run a Kubernetes control plane beside the guest, let it join, and show nodes and pods
    #[arg(long, conflicts_with_all = ["config", "no_config", "no_network"])]
    pub cluster: bool,
    /// The directory with `kubernetes/go.mod` and `etcd/go.mod` [default: as for `orlop cluster`]
    #[arg(long, value_name = "DIR", requires = "cluster")]
    pub components: Option<PathBuf>,
    /// Let the guest reset itself and go on; without this a reset ends the run as a failure
    #[arg(long)]
    pub reboot: bool,
    /// Arguments for QEMU itself, after ours, such as `-- -rtc base=1970-01-01`
    #[arg(last = true, value_name = "QEMU-ARG")]
    pub qemu: Vec<OsString>,
    /// The summary goes to stdout as JSON, so the console goes to stderr.
    #[arg(skip)]
    pub json: bool,
}

impl Options {
    /// What `orlop run IMAGE` means.
    pub fn new(image: impl Into<PathBuf>) -> Self {
        Self {
            image: image.into(),
            direct: false,
            accel: AccelChoice::Auto,
            memory: Mib(2048),
            cpus: None,
            disk_size: None,
            disk: None,
            pmem: false,
            icount: None,
            forward: Vec::new(),
            serial: Serial::Auto,
            until: None,
            timeout: None,
            uefi_code: None,
            uefi_vars: None,
            config: None,
            no_config: false,
            no_network: false,
            cluster: false,
            components: None,
            reboot: false,
            qemu: Vec::new(),
            json: false,
        }
    }

    /// The files that a run writes, each with the option that asks for it.
    pub(super) fn files_written(&self) -> Vec<(&'static str, PathBuf)> {
        let disk = self.disk.iter().flat_map(|disk| {
            [disk.clone(), kept::variables(disk), kept::record(disk)].map(|file| ("--disk", file))
        });
        let serial = match &self.serial {
            Serial::File(file) => Some(("--serial", file.clone())),
            Serial::Auto | Serial::Terminal => None,
        };
        disk.chain(serial).collect()
    }

    /// How long the guest may take: a wait for something that may never come has an end.
    pub fn time_limit(&self) -> Option<Duration> {
        let default = self.until.map(|_| Duration::from_secs(15 * 60));
        self.timeout.map(|timeout| timeout.0).or(default)
    }
}

/// Which accelerator was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AccelChoice {
    /// KVM if it works, else TCG.
    Auto,
    /// KVM or an error.
    Kvm,
    /// QEMU's translator, which runs everywhere.
    Tcg,
}

/// How far the guest must come. Each is a boot mark that PID 1 sends, or that we see from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// PID 1 runs from the verified root.
    Init,
    /// containerd answers `Version` on its CRI socket.
    Cri,
    /// The API server says that the node is Ready (with --cluster).
    Ready,
    /// kubelet says that it is healthy.
    Kubelet,
    /// The first container of a pod runs.
    Pod,
}

impl Until {
    /// The name of the mark to wait for.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Init => "root-init-start",
            Self::Cri => "cri-answers",
            Self::Ready => "ready",
            Self::Kubelet => "kubelet-healthy",
            Self::Pod => "pod-running",
        }
    }
}

/// Where the console goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// [`Serial::Terminal`], unless somebody else needs the terminal.
    Auto,
    /// To this terminal: stdout, or stderr with `--json`.
    Terminal,
    /// To a file, replaced if it exists.
    File(PathBuf),
}

impl FromStr for Serial {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "terminal" => Self::Terminal,
            file => Self::File(file.into()),
        })
    }
}

/// A TCP port of the host's loopback address that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Port on 127.0.0.1.
    pub host: u16,
    /// Port in the guest.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse().ok().filter(|&port: &u16| port != 0);
        text.split_once(':')
            .and_then(|(host, guest)| Some(Self { host: port(host)?, guest: port(guest)? }))
            .ok_or_else(|| format!("`{text}` is not two ports: write for example 6443:6443"))
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.guest)
    }
}

/// A time limit, written `90`, `90s` or `15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout(pub Duration);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
            (Some(number), _) => (number, 1),
            (_, Some(number)) => (number, 60),
            _ => (text, 1),
        };
        let seconds = number.parse::<u32>().ok().filter(|&n| n > 0);
        let seconds = seconds.map(|n| u64::from(n) * factor);
        seconds
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or_else(|| format!("`{text}` is not a time: write for example 90s or 15m"))
    }
}

fn mib(text: &str) -> Result<Mib, String> {
    Mib::try_from(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Cli::try_parse_from(line.split(' ').map(|word| word.replace('_', " "))).map(|c| c.options)
    }

    #[test]
    fn a_bare_image_means_what_new_says() {
        let parsed = parse("run build/node").unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Options::new("build/node")));
    }

    #[test]
    fn every_option_is_understood() {
        let options = parse(
            "run node --direct --accel tcg --memory 512_MiB --cpus 1 --disk-size 8_GiB --disk d \
             --forward 6443:443 --forward 80:80 --serial log --until cri --timeout 15m --reboot \
             --config node.toml \
             -- -rtc base=1970-01-01",
        )
        .unwrap();
        assert_eq!(options.qemu, ["-rtc", "base=1970-01-01"]);
        assert_eq!(options.memory, Mib(512));
        assert_eq!(options.disk_size, Some(Mib(8192)));
        assert_eq!(
            options.forward,
            [Forward { host: 6443, guest: 443 }, Forward { host: 80, guest: 80 }]
        );
        assert_eq!(options.serial, Serial::File("log".into()));
        assert_eq!(options.time_limit(), Some(Duration::from_secs(900)));
        assert_eq!(options.config, Some("node.toml".into()));
        assert_eq!(options.until.unwrap().mark(), "cri-answers");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "run node --memory 2",
            "run node --memory 0_GiB",
            "run node --cpus 0",
            "run node --forward 80",
            "run node --forward 80:0",
            "run node --forward 80:65536",
            "run node --no-network --forward 80:80",
            "run node --no-config --config node.toml",
            "run node --until never",
            "run node --pmem",
            "run node --direct --pmem --disk d",
            "run node --direct --pmem --disk-size 8_GiB",
            "run node --icount 11",
            "run node --icount 1 --accel kvm",
            "run node --icount 1 --cpus 2",
            "run node --timeout 0",
            "run node --timeout soon",
            "run node --timeout 99999999999m",
            "run node --uefi-code code.fd",
            "run node --until ready",
            "run node --cluster --no-network",
            "run node --cluster --config node.toml",
            "run node --components recipes/components",
            "run node more",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn only_a_wait_has_a_limit_of_its_own() {
        let limit = |line| parse(line).unwrap().time_limit();
        assert_eq!(limit("run node"), None);
        assert_eq!(limit("run node --until init"), Some(Duration::from_secs(900)));
        assert_eq!(limit("run node --until init --timeout 90"), Some(Duration::from_secs(90)));
    }
}
