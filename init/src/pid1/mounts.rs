//! The mounts that a container host needs, as tables: what the initramfs makes and hands over,
//! and what is added in the root. Also the first cgroups and the writable `/etc`.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use crate::network::NAMES;
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
/// Where programs never come from: they come from the root, and from STATE for pods.
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
    required("devtmpfs", "/dev", NOSUID.union(MountFlags::NOEXEC), c"mode=0755"),
    // Bundles of tasks are here, but the root of each is a mount of its own.
    required("tmpfs", "/run", PSEUDO, c"mode=0755,size=25%"),
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
    required("tmpfs", "/dev/shm", PSEUDO, c"mode=1777,size=50%"),
    optional("mqueue", "/dev/mqueue", PSEUDO, c""),
    required("tmpfs", "/tmp", PSEUDO, c"mode=1777,size=25%"),
    required("cgroup2", "/sys/fs/cgroup", PSEUDO, c"nsdelegate,memory_recursiveprot"),
    optional("bpf", "/sys/fs/bpf", PSEUDO, c"mode=0700"),
    optional("securityfs", "/sys/kernel/security", PSEUDO, c""),
    // What tracers, profilers and drivers of storage look for. Each is its own door: not all who
    // may look at one may look at the others.
    optional("debugfs", "/sys/kernel/debug", PSEUDO, c"mode=0700"),
    optional("tracefs", "/sys/kernel/tracing", PSEUDO, c"mode=0700"),
    optional("fusectl", "/sys/fs/fuse/connections", PSEUDO, c""),
    // What a kernel that panicked has left, where the machine keeps that.
    optional("pstore", "/sys/fs/pstore", PSEUDO, c""),
    optional("hugetlbfs", "/dev/hugepages", DATA, c"mode=0755"),
];

/// Where the changes to `/etc` live: in memory, made again at each boot from the node's config.
const ETC_UPPER: &str = "/run/orlop/etc/upper";
const ETC_WORK: &str = "/run/orlop/etc/work";
const ETC_OPTIONS: &CStr =
    c"lowerdir=/etc,upperdir=/run/orlop/etc/upper,workdir=/run/orlop/etc/work";

/// Bytes of PID 1 that are never taken away: more than it ever holds.
const PROTECTED: &str = "16777216";

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
    fs::write(root.join("cgroup.subtree_control"), enable)
        .doing(|| "enable the cgroup controllers")?;
    // Pods that need memory must not make PID 1 wait for its own pages.
    let protected = root.join("init/memory.min");
    fs::write(&protected, PROTECTED).doing(|| format!("write {}", protected.display()))
}

/// A place below the read-only root, or in the `/etc` of one boot, that pods write programs and
/// configuration of the node to, and where STATE keeps them over a restart.
struct Kept {
    on_state: &'static str,
    seen_at: &'static str,
    /// What looks there: in an image without this program nobody misses the place.
    read_by: &'static str,
}

const KEPT: [Kept; 3] = [
    // A cluster's CNI: its plugins and its configuration.
    Kept {
        on_state: "/var/lib/orlop/cni/bin",
        seen_at: "/opt/cni/bin",
        read_by: "/usr/bin/containerd",
    },
    Kept {
        on_state: "/var/lib/orlop/cni/net.d",
        seen_at: "/etc/cni/net.d",
        read_by: "/usr/bin/containerd",
    },
    // FlexVolume drivers, which come as pods that know kubelet's default path.
    Kept {
        on_state: "/var/lib/kubelet/volume-plugins",
        seen_at: "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
        read_by: "/usr/bin/kubelet",
    },
];

/// Makes what STATE keeps for pods visible where it is looked for. What fails is in the result and
/// stops no other.
pub fn kept() -> Vec<Failure> {
    KEPT.iter().filter_map(|place| keep(Path::new("/"), place).err()).collect()
}

fn keep(root: &Path, place: &Kept) -> Result<(), Failure> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    if !at(place.read_by).exists() {
        return Ok(());
    }
    let (on_state, seen_at) = (at(place.on_state), at(place.seen_at));
    if let Err(error) = fs::create_dir_all(&seen_at)
        && !seen_at.is_dir()
    {
        // The root is read-only: the directory must be in the image.
        let what = format!("give pods {}, which the image lacks", place.seen_at);
        return Err(error).doing(|| what);
    }
    fs::create_dir_all(&on_state).doing(|| format!("make {}", place.on_state))?;
    mount_bind(&on_state, &seen_at)
        .doing(|| format!("bind {} to {}", place.on_state, place.seen_at))
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
    names_of_the_network(Path::new("/"))?;
    mount("overlay", "/etc", "overlay", PSEUDO, ETC_OPTIONS)
        .doing(|| "make /etc writable (overlay)")
}

/// A directory that the unit `network` may write, and what of it is seen in `/etc`. The links are
/// relative, so that they lead there also for who has the node's root elsewhere.
fn names_of_the_network(root: &Path) -> Result<(), Failure> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    fs::create_dir_all(at(NAMES)).doing(|| format!("make {NAMES}"))?;
    for name in ["hosts", "resolv.conf"] {
        symlink(format!("..{NAMES}/{name}"), at(ETC_UPPER).join(name))
            .doing(|| format!("let /etc/{name} lead to {NAMES}"))?;
    }
    Ok(())
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
            /dev devtmpfs noexec,nosuid mode=0755 Required
            /run tmpfs nodev,noexec,nosuid mode=0755,size=25% Required
            /dev/pts devpts noexec,nosuid gid=5,mode=0620,ptmxmode=0666 Required
            /dev/shm tmpfs nodev,noexec,nosuid mode=1777,size=50% Required
            /dev/mqueue mqueue nodev,noexec,nosuid Optional
            /tmp tmpfs nodev,noexec,nosuid mode=1777,size=25% Required
            /sys/fs/cgroup cgroup2 nodev,noexec,nosuid nsdelegate,memory_recursiveprot Required
            /sys/fs/bpf bpf nodev,noexec,nosuid mode=0700 Optional
            /sys/kernel/security securityfs nodev,noexec,nosuid Optional
            /sys/kernel/debug debugfs nodev,noexec,nosuid mode=0700 Optional
            /sys/kernel/tracing tracefs nodev,noexec,nosuid mode=0700 Optional
            /sys/fs/fuse/connections fusectl nodev,noexec,nosuid Optional
            /sys/fs/pstore pstore nodev,noexec,nosuid Optional
            /dev/hugepages hugetlbfs nodev,nosuid mode=0755 Optional
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
    fn the_names_of_the_network_are_seen_in_etc_from_wherever_the_root_is() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join(&ETC_UPPER[1..])).unwrap();
        names_of_the_network(root).unwrap();
        // The overlay shows the links in `/etc`.
        fs::rename(root.join(&ETC_UPPER[1..]), root.join("etc")).unwrap();
        for name in ["hosts", "resolv.conf"] {
            crate::sys::replace(&root.join(&NAMES[1..]).join(name), name.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(root.join("etc").join(name)).unwrap(), name);
        }
    }

    #[test]
    fn a_place_that_the_image_lacks_is_a_failure_if_a_program_of_it_looks_there() {
        for place in &KEPT {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path();
            // Below a file no directory can be made, as below a read-only root.
            let first = place.seen_at.split('/').nth(1).unwrap();
            fs::write(root.join(first), "").unwrap();
            assert!(keep(root, place).is_ok(), "nobody looks there");

            fs::remove_file(root.join(first)).unwrap();
            let program = root.join(&place.read_by[1..]);
            fs::create_dir_all(program.parent().unwrap()).unwrap();
            fs::write(&program, "").unwrap();
            let at = root.join(&place.seen_at[1..]);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(&at, "").unwrap();
            let failure = keep(root, place).unwrap_err().to_string();
            let want = format!("cannot give pods {}, which the image lacks: ", place.seen_at);
            assert!(failure.starts_with(&want), "{failure}");
            assert!(!root.join(&place.on_state[1..]).exists());
        }
    }

    #[test]
    fn the_recipe_has_the_directory_of_every_kept_place() {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
        let text = |name: &str| fs::read_to_string(recipes.join(name)).unwrap();
        let recipes = text("base.toml") + &text("node.toml");
        for place in KEPT.iter().filter(|place| !place.seen_at.starts_with("/etc/")) {
            assert!(recipes.contains(&format!("\"{}\"", place.seen_at)), "{}", place.seen_at);
        }
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
