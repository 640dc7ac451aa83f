//! The mounts that a container host needs, as tables: what the initramfs makes and hands over,
//! and what is added in the root. Also the first cgroups and the writable `/etc`.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use crate::sys::{Doing as _, Failure};
use crate::{log, modules};

/// One mount of a file system that the kernel makes up.
#[derive(Debug, Clone, Copy)]
pub struct Mount {
    /// The type, which also stands for the device.
    pub kind: &'static str,
    /// Where; the directory is made if it is not there and can be made.
    pub target: &'static str,
    /// The flags.
    pub flags: MountFlags,
    /// The type's own options.
    pub options: &'static CStr,
    /// Whether a node can live without it.
    pub need: Need,
}

/// Whether a node can live without something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Its absence is a failed boot.
    Required,
    /// Its absence is a warning: the kernel may be built without it.
    Optional,
}

const NOSUID: MountFlags = MountFlags::NOSUID;
const DATA: MountFlags = NOSUID.union(MountFlags::NODEV);
const PSEUDO: MountFlags = DATA.union(MountFlags::NOEXEC);

const fn required(
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: &'static CStr,
) -> Mount {
    Mount { kind, target, flags, options, need: Need::Required }
}

const fn optional(
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    options: &'static CStr,
) -> Mount {
    Mount { kind, target, flags, options, need: Need::Optional }
}

/// What the initramfs mounts first and moves into the root.
pub const EARLY: &[Mount] = &[
    required("proc", "/proc", PSEUDO, c""),
    required("sysfs", "/sys", PSEUDO, c""),
    required("devtmpfs", "/dev", NOSUID, c"mode=0755"),
    // Executable: containerd unpacks the bundles of its tasks here.
    required("tmpfs", "/run", DATA, c"mode=0755,size=25%"),
];

/// What the root adds. `/tmp` and `/dev/shm` are bounded so that no pod with a host path eats the
/// node's memory.
pub const ROOT: &[Mount] = &[
    required(
        "devpts",
        "/dev/pts",
        NOSUID.union(MountFlags::NOEXEC),
        c"gid=5,mode=0620,ptmxmode=0666",
    ),
    required("tmpfs", "/dev/shm", DATA, c"mode=1777,size=50%"),
    optional("mqueue", "/dev/mqueue", PSEUDO, c""),
    required("tmpfs", "/tmp", DATA, c"mode=1777,size=25%"),
    required("cgroup2", "/sys/fs/cgroup", PSEUDO, c"nsdelegate,memory_recursiveprot"),
    optional("bpf", "/sys/fs/bpf", PSEUDO, c"mode=0700"),
    optional("securityfs", "/sys/kernel/security", PSEUDO, c""),
];

/// Where the changes to `/etc` live: in memory, made again at each boot from the node's config.
const ETC_UPPER: &str = "/run/orlop/etc/upper";
const ETC_WORK: &str = "/run/orlop/etc/work";
const ETC_OPTIONS: &CStr =
    c"lowerdir=/etc,upperdir=/run/orlop/etc/upper,workdir=/run/orlop/etc/work";

const CGROUPS: &str = "/sys/fs/cgroup";
/// The controllers that kubelet refuses to start without.
const CONTROLLERS: &[&str] = &["cpuset", "cpu", "io", "memory", "pids"];
const OPTIONAL_CONTROLLERS: &[&str] = &["hugetlb"];

/// Makes the mounts of the root: [`ROOT`], propagation, and the writable `/etc`. What is optional
/// and missing is logged as a warning.
///
/// # Errors
/// The first required mount that failed.
pub fn root_stage() -> Result<(), Failure> {
    for entry in ROOT {
        match (mount_entry(entry), entry.need) {
            (Err(failure), Need::Required) => return Err(failure),
            (Err(failure), Need::Optional) => log::warn(&failure.to_string()),
            (Ok(()), _) => {}
        }
    }
    // What kubelet mounts below /var/lib/kubelet must reach the containers, and the other way
    // round: everything is shared, also what is mounted later below a shared mount.
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", shared).doing(|| "share the mounts below /")?;
    writable_etc()
}

/// Enables the controllers for the whole tree and moves this process out of the root cgroup, into
/// the leaf `/init`; makes `/runtime` for containerd and its shims.
///
/// # Errors
/// When a controller that kubelet needs is missing or a group cannot be made.
pub fn cgroups() -> Result<(), Failure> {
    let root = Path::new(CGROUPS);
    for leaf in ["init", "runtime"] {
        let group = root.join(leaf);
        make_directory(&group).doing(|| format!("make the cgroup {}", group.display()))?;
    }
    let procs = root.join("init/cgroup.procs");
    fs::write(&procs, "0").doing(|| "move PID 1 into the cgroup /init")?;

    let available = fs::read_to_string(root.join("cgroup.controllers"))
        .doing(|| "read the list of cgroup controllers")?;
    let (enable, missing) = controllers(&available).map_err(|name| {
        Failure::new(format!("enable the cgroup controller `{name}`"), Errno::NODEV)
    })?;
    for name in missing {
        log::warn(&format!("the kernel has no cgroup controller `{name}`"));
    }
    fs::write(root.join("cgroup.subtree_control"), enable).doing(|| "enable the cgroup controllers")
}

/// Places below the read-only root or in the `/etc` of one boot that a cluster's CNI writes to, its
/// plugins and configuration, and where STATE keeps them over a restart.
const CNI: [(&str, &str); 2] =
    [("/var/lib/orlop/cni/bin", "/opt/cni/bin"), ("/var/lib/orlop/cni/net.d", "/etc/cni/net.d")];

/// Makes what STATE keeps of a cluster's network visible where it is looked for. An image without
/// such a place, one that runs no cluster's CNI, is left as it is. What fails is in the result and
/// stops no other.
pub fn cni() -> Vec<Failure> {
    CNI.iter().filter_map(|(kept, seen)| keep(kept.as_ref(), seen.as_ref()).err()).collect()
}

fn keep(kept: &Path, seen: &Path) -> Result<(), Failure> {
    if fs::create_dir_all(seen).is_err() && !seen.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(kept).doing(|| format!("make {}", kept.display()))?;
    mount_bind(kept, seen).doing(|| format!("bind {} to {}", kept.display(), seen.display()))
}

/// Makes one mount, and its directory if need be.
///
/// # Errors
/// What the kernel said to the mount.
pub(crate) fn mount_entry(entry: &Mount) -> Result<(), Failure> {
    // The root is read-only: there the directory must exist, and if not the mount says so.
    let _ = make_directory(Path::new(entry.target));
    mount(entry.kind, entry.target, entry.kind, entry.flags, entry.options)
        .doing(|| format!("mount {} on {}", entry.kind, entry.target))
}

fn writable_etc() -> Result<(), Failure> {
    // The overlay's module is loaded ahead of the others, for they can wait and /etc cannot. When
    // it is built in, or there is no list, the mount itself tells.
    if let Ok(loaded) = modules::load(Path::new(modules::LIST), &["overlay"]) {
        loaded.failures.iter().for_each(|failure| log::warn(&failure.to_string()));
    }
    for directory in [ETC_UPPER, ETC_WORK] {
        fs::create_dir_all(directory).doing(|| format!("make {directory}"))?;
    }
    mount("overlay", "/etc", "overlay", DATA, ETC_OPTIONS).doing(|| "make /etc writable (overlay)")
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// What to write to `cgroup.subtree_control`, and which optional controllers there are not.
///
/// # Errors
/// The required controller that is missing.
fn controllers(available: &str) -> Result<(String, Vec<&'static str>), &'static str> {
    let available: Vec<&str> = available.split_whitespace().collect();
    let has = |name: &&&'static str| available.contains(*name);
    if let Some(missing) = CONTROLLERS.iter().find(|name| !has(name)) {
        return Err(missing);
    }
    let optional = OPTIONAL_CONTROLLERS.iter();
    let (present, missing): (Vec<_>, Vec<_>) = optional.partition(has);
    let words = CONTROLLERS.iter().chain(present).map(|name| format!("+{name}"));
    Ok((words.collect::<Vec<_>>().join(" "), missing.into_iter().copied().collect()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn listing(mounts: &[Mount]) -> String {
        let line = |mount: &Mount| {
            let flags: Vec<String> =
                mount.flags.iter_names().map(|(name, _)| name.to_lowercase()).collect();
            let options = mount.options.to_str().unwrap();
            let all = [flags.join(","), options.to_owned()].join(" ");
            format!("{} {} {} {:?}\n", mount.target, mount.kind, all.trim(), mount.need)
        };
        mounts.iter().map(line).collect()
    }

    #[test]
    fn these_are_the_mounts_of_a_node() {
        expect![[r#"
            /proc proc nodev,noexec,nosuid Required
            /sys sysfs nodev,noexec,nosuid Required
            /dev devtmpfs nosuid mode=0755 Required
            /run tmpfs nodev,nosuid mode=0755,size=25% Required
            /dev/pts devpts noexec,nosuid gid=5,mode=0620,ptmxmode=0666 Required
            /dev/shm tmpfs nodev,nosuid mode=1777,size=50% Required
            /dev/mqueue mqueue nodev,noexec,nosuid Optional
            /tmp tmpfs nodev,nosuid mode=1777,size=25% Required
            /sys/fs/cgroup cgroup2 nodev,noexec,nosuid nsdelegate,memory_recursiveprot Required
            /sys/fs/bpf bpf nodev,noexec,nosuid mode=0700 Optional
            /sys/kernel/security securityfs nodev,noexec,nosuid Optional
        "#]]
        .assert_eq(&(listing(EARLY) + &listing(ROOT)));
    }

    #[test]
    fn a_mount_comes_after_the_one_it_lies_in() {
        let all: Vec<_> = EARLY.iter().chain(ROOT).map(|mount| mount.target).collect();
        for (at, target) in all.iter().enumerate() {
            let later = all[at..].iter().find(|other| target.starts_with(&format!("{other}/")));
            assert_eq!(later, None, "{target} would be hidden");
        }
    }

    #[test]
    fn the_overlay_options_name_the_directories_that_are_made() {
        let want = format!("lowerdir=/etc,upperdir={ETC_UPPER},workdir={ETC_WORK}");
        assert_eq!(ETC_OPTIONS.to_str(), Ok(want.as_str()));
    }

    #[test]
    fn an_image_without_a_place_for_plugins_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let kept = directory.path().join("kept");
        // Below a file no directory can be made, as below a read-only root.
        keep(&kept, &file.join("opt/cni/bin")).unwrap();
        assert!(!kept.exists());
    }

    #[test]
    fn controllers_that_kubelet_needs_are_demanded_and_others_are_taken_if_there() {
        let without = "cpuset cpu io memory pids rdma misc\n";
        let enable = "+cpuset +cpu +io +memory +pids";
        assert_eq!(controllers(without), Ok((enable.to_owned(), vec!["hugetlb"])));
        assert_eq!(
            controllers("cpuset cpu io memory hugetlb pids"),
            Ok((format!("{enable} +hugetlb"), vec![]))
        );
        assert_eq!(controllers("cpuset cpu io pids"), Err("memory"));
    }
}
