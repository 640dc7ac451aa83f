//! Machines that can and that cannot, each as the files by which a kernel shows it.

use std::cell::RefCell;

use formats::kata::Tee;
use tempfile::TempDir;

use super::*;

/// A machine that loads every module but these.
#[derive(Default)]
struct Mock {
    lacks: &'static [&'static str],
    no_room: bool,
    /// Containerd has no more than runc.
    no_handler: bool,
    did: RefCell<Vec<String>>,
}

impl Machine for Mock {
    fn load(&self, modules: &[&str]) -> Result<(), String> {
        self.did.borrow_mut().push(format!("load {}", modules.join(" ")));
        match modules.iter().find(|module| self.lacks.contains(module)) {
            Some(module) => Err(format!("the kernel's module {module} cannot be loaded: no")),
            None => Ok(()),
        }
    }

    fn handlers(&self) -> Result<Vec<String>, String> {
        let all = ["runc", "kata", "kata-snp", "kata-tdx"].map(str::to_owned);
        Ok(all.into_iter().take(if self.no_handler { 1 } else { 4 }).collect())
    }

    fn make_room(&self) -> io::Result<()> {
        self.did.borrow_mut().push("room".to_owned());
        if self.no_room { Err(io::Error::other("busy")) } else { Ok(()) }
    }
}

const DEVICES: [&str; 4] = ["/dev/kvm", "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock"];

fn machine(flags: &str, files: &[(&str, &str)]) -> (TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let processors =
        format!("processor\t: 0\nvendor_id\t: x\nflags\t\t: fpu {flags} sse\n\nprocessor\t: 1\n");
    let devices = DEVICES.map(|device| (device, ""));
    for (path, text) in devices.iter().chain(files).chain(&[(PROCESSORS, processors.as_str())]) {
        root.write(path, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
    }
    (directory, root)
}

fn facts(hypervisor: &str, memory_in_shm: bool, tees: &[Tee]) -> Facts {
    let handlers = vec!["kata".to_owned()];
    Facts { hypervisor: hypervisor.to_owned(), handlers, memory_in_shm, tees: tees.to_vec() }
}

#[test]
fn a_machine_with_virtualization_loads_its_module_and_makes_room() {
    for (flags, module) in [("vmx", "kvm_intel"), ("svm", "kvm_amd")] {
        let (_directory, root) = machine(flags, &[]);
        let mock = Mock::default();
        let (found, troubles) = check(&root, &facts("qemu", true, &[]), &mock);
        assert_eq!((found, troubles), (Found { runs: true, tee: None }, vec![]));
        let load = format!("load {module}");
        assert_eq!(
            mock.did.into_inner(),
            [load.as_str(), "load tun vhost_net vhost_vsock", "room"]
        );
    }
    let (_directory, root) = machine("svm", &[]);
    root.remove("/dev/vhost-vsock").unwrap();
    let mock = Mock::default();
    assert!(check(&root, &facts("dragonball", false, &[]), &mock).0.runs);
    assert_eq!(mock.did.into_inner(), ["load kvm_amd", "load tun vhost_net"]);
}

#[test]
fn what_is_wanting_is_one_line_and_nothing_is_found() {
    let said = |flags: &str, gone: &str, mock: Mock| {
        let (_directory, root) = machine(flags, &[]);
        root.remove(gone).unwrap();
        let (found, troubles) = check(&root, &facts("qemu", true, &[]), &mock);
        assert_eq!(found, Found::default());
        let [trouble] = <[String; 1]>::try_from(troubles).unwrap();
        trouble.strip_prefix("no pod can run in a virtual machine (Kata): ").unwrap().to_owned()
    };
    let without = said("avx svm_lock", "/dev/kvm", Mock::default());
    assert_eq!(
        without,
        "the processor shows no virtualization (neither `vmx` nor `svm`): turn it on in the firmware, \
         or nesting at the hypervisor"
    );
    let off = said("vmx", "/none", Mock { lacks: &["kvm_intel"], ..Mock::default() });
    assert_eq!(off, "the kernel's module kvm_intel cannot be loaded: no");
    let unknown = said("vmx", "/none", Mock { no_handler: true, ..Mock::default() });
    assert_eq!(unknown, "containerd has no handler `kata`");
    for device in DEVICES {
        let gone = said("svm", device, Mock::default());
        assert_eq!(
            gone,
            format!("{device} cannot be opened: No such file or directory (os error 2)")
        );
    }
}

#[test]
fn room_that_cannot_be_made_is_told_and_stops_nothing() {
    let (_directory, root) = machine("svm", &[]);
    let mock = Mock { no_room: true, ..Mock::default() };
    let (found, troubles) = check(&root, &facts("qemu", true, &[]), &mock);
    assert!(
        found.runs && troubles[0].ends_with("/dev/shm cannot be made larger: busy"),
        "{troubles:?}"
    );
}

#[test]
fn a_confidential_image_says_what_the_host_lacks_for_it() {
    let snp = ("/sys/module/kvm_amd/parameters/sev_snp", "Y\n");
    let sev = ("/dev/sev", "");
    let tdx = ("/sys/module/kvm_intel/parameters/tdx", "Y\n");
    let both = facts("qemu", false, &Tee::ALL);
    for (files, tee) in [(&[snp, sev][..], Tee::Snp), (&[tdx], Tee::Tdx)] {
        let (_directory, root) = machine("svm", files);
        let found = check(&root, &both, &Mock::default());
        assert_eq!(found, (Found { runs: true, tee: Some(tee) }, vec![]));
    }
    let off = ("/sys/module/kvm_amd/parameters/sev_snp", "N\n");
    for (files, why) in [
        (&[snp][..], "no AMD SEV-SNP, for /dev/sev cannot be opened"),
        (&[off], "no AMD SEV-SNP, for KVM says that it is off (/sys/module/kvm_amd/"),
        (&[], "no AMD SEV-SNP, for there is no /sys/module/kvm_amd/parameters/sev_snp; it takes"),
    ] {
        let (_directory, root) = machine("svm", files);
        let (found, troubles) = check(&root, &both, &Mock::default());
        assert_eq!(found, Found::default());
        let [trouble] = &troubles[..] else { panic!("{troubles:?}") };
        let start = "no pod can run in a confidential virtual machine (Kata): ";
        assert!(trouble.starts_with(&format!("{start}{why}")), "{trouble}");
        assert!(
            trouble.contains("And no Intel TDX, for there is no /sys/module/kvm_intel"),
            "{trouble}"
        );
    }
}
