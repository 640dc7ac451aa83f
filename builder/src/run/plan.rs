//! What QEMU is told: options and parts in, a command line out. Nothing is touched here.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use formats::node_config::FIRMWARE_NAME;

use crate::run::firmware::Flash;
use crate::run::qemu::{QEMU, Version, accelerator, cpu_model, default_cpus};
use crate::run::{Accel, Options};

/// The virtio-serial port on which PID 1 sends its boot marks.
pub const MARKS_PORT: &str = "org.orlop.boot";

/// What was found or made for this run. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What runs the guest's instructions.
    pub accel: Accel,
    /// The host's QEMU.
    pub qemu: Version,
    /// How the kernel gets into memory.
    pub boot: Boot,
    /// The guest's disk.
    pub disk: Disk,
    /// A Unix socket on which we listen for the console.
    pub serial: PathBuf,
    /// A Unix socket on which we listen for boot marks.
    pub marks: PathBuf,
    /// The node's configuration.
    pub config: Option<PathBuf>,
}

/// How the kernel gets into memory.
#[derive(Debug, Clone)]
pub enum Boot {
    /// Firmware finds the boot loader on the disk.
    Uefi {
        /// Shared and read-only.
        code: Flash,
        /// This guest's own variables.
        vars: Flash,
    },
    /// QEMU loads it.
    Direct {
        /// A bzImage.
        kernel: PathBuf,
        /// A cpio archive.
        initrd: PathBuf,
        /// With a console.
        command_line: String,
    },
}

/// A disk that the guest may write.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// How QEMU must read it.
    pub format: Format,
    /// Bytes of the disk, not of the file.
    pub bytes: u64,
    /// Whether anybody reads it after this run.
    pub fate: Fate,
}

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk.
    Raw,
    /// QEMU's own, with a backing file.
    Qcow2,
}

impl Format {
    /// QEMU's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What becomes of a disk after the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is removed: nothing need reach the host's disk.
    ThrownAway,
    /// The next run continues from it.
    Kept,
}

/// QEMU's arguments, the program's name not included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are given.
    pub args: Vec<OsString>,
}

const GIB: u64 = 1 << 30;

/// What the guest's clock says at the start of every boot in which it counts instructions: later
/// than any image was made.
const REPEATED_TIME: &str = "base=2040-01-01T00:00:00,clock=vm";

/// Plans the machine, with one disk (virtio, or memory), a serial console, a port for boot marks and, unless
/// refused, a network card behind QEMU's user-mode network.
///
/// QEMU speaks QMP on its standard input, starts with the guest's processors stopped, and stops
/// instead of ending when the guest is gone, so that its cost can be read.
pub fn plan(options: &Options, parts: &Parts) -> Plan {
    let mut args = Arguments::default();
    args.words(&["-name", "orlop", "-nodefaults", "-no-user-config", "-display", "none", "-S"]);
    let nvdimm = if options.pmem { ",nvdimm=on" } else { "" };
    let machine = &format!("{}{nvdimm}", QEMU.machine);
    let accel = accelerator(parts.accel, parts.qemu, options.icount.is_some());
    args.words(&["-machine", machine, "-accel", accel, "-cpu", cpu_model(parts.accel, parts.qemu)]);
    if let Some(shift) = options.icount {
        // Idle time passes at once; what is random in the guest comes out the same each time.
        args.words(&["-icount", &format!("shift={shift},sleep=off"), "-seed", "1"]);
        args.words(&["-rtc", REPEATED_TIME]);
    }
    let default = || match options.icount {
        Some(_) => 1,
        None => default_cpus(parts.accel, parts.qemu),
    };
    let cpus = options.cpus.unwrap_or_else(default);
    args.words(&["-smp", &cpus.to_string(), "-m", &memory(options, &parts.disk)]);
    let reboot = if options.reboot { "reset" } else { "shutdown" };
    args.words(&["-action", &format!("reboot={reboot},shutdown=pause,panic=shutdown")]);
    args.words(&["-chardev", "socket,id=qmp,fd=0", "-mon", "chardev=qmp,mode=control"]);

    match &parts.boot {
        Boot::Uefi { code, vars } => {
            for (flash, unit) in [(code, "unit=0,readonly=on"), (vars, "unit=1")] {
                args.words(&["-drive"]);
                let format = flash.format.name();
                args.path(&format!("if=pflash,format={format},{unit},file="), &flash.path);
            }
        }
        Boot::Direct { kernel, initrd, command_line } => {
            args.words(&["-kernel"]);
            args.plain(kernel);
            args.words(&["-initrd"]);
            args.plain(initrd);
            args.words(&["-append", command_line]);
        }
    }

    if options.pmem {
        memory_disk(&mut args, &parts.disk);
    } else {
        virtio_disk(&mut args, parts);
    }

    args.words(&["-chardev"]);
    args.path("socket,id=serial,path=", &parts.serial);
    args.words(&["-serial", "chardev:serial", "-device", "virtio-serial-pci", "-chardev"]);
    args.path("socket,id=marks,path=", &parts.marks);
    args.words(&["-device", &format!("virtserialport,chardev=marks,name={MARKS_PORT}")]);

    if let Some(config) = &parts.config {
        args.words(&["-fw_cfg"]);
        args.path(&format!("name={FIRMWARE_NAME},file="), config);
    }

    if options.no_network {
        args.words(&["-nic", "none"]);
    } else {
        let mut user = "user,id=net".to_owned();
        for forward in &options.forward {
            user += &format!(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host, forward.guest);
        }
        // Without its ROM the card is no boot device: firmware does not wait for a PXE server.
        args.words(&["-netdev", &user, "-device", "virtio-net-pci,netdev=net,romfile="]);
    }
    args.0.extend(options.qemu.iter().cloned());
    Plan { args: args.0 }
}

/// Memory of the guest and, with a disk in memory, the address space that is left for it.
fn memory(options: &Options, disk: &Disk) -> String {
    let memory = options.memory;
    if !options.pmem {
        return format!("{}M", memory.0);
    }
    // The module begins at a multiple of 1 GiB.
    let most = u64::from(memory.0) + disk.bytes.div_ceil(GIB) * 1024 + 1024;
    format!("{}M,slots=1,maxmem={most}M", memory.0)
}

/// The file is mapped privately: what the guest writes does not reach it.
fn memory_disk(args: &mut Arguments, disk: &Disk) {
    args.words(&["-object"]);
    let bytes = disk.bytes;
    args.path(&format!("memory-backend-file,id=disk,share=off,size={bytes},mem-path="), &disk.path);
    args.words(&["-device", "nvdimm,memdev=disk"]);
}

fn virtio_disk(args: &mut Arguments, parts: &Parts) {
    let cache = match parts.disk.fate {
        Fate::ThrownAway => "unsafe",
        Fate::Kept => "writeback",
    };
    let format = parts.disk.format.name();
    args.words(&["-drive"]);
    args.path(
        &format!("if=none,id=disk,format={format},cache={cache},discard=unmap,file="),
        &parts.disk.path,
    );
    // A kernel given to QEMU has boot index 0 already.
    let first = match parts.boot {
        Boot::Uefi { .. } => ",bootindex=0",
        Boot::Direct { .. } => "",
    };
    args.words(&["-device", &format!("virtio-blk-pci,drive=disk{first}")]);
}

/// The command line with a console on the serial port, if it names none.
pub fn with_console(command_line: &str) -> String {
    let line = command_line.trim();
    if line.split_whitespace().any(|word| word.starts_with("console=")) {
        return line.to_owned();
    }
    format!("{line} console=ttyS0").trim_start().to_owned()
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn plain(&mut self, path: &Path) {
        self.0.push(path.into());
    }

    /// An option that ends in a path. In an option's value QEMU reads `,,` as a comma.
    fn path(&mut self, prefix: &str, path: &Path) {
        let mut bytes = prefix.as_bytes().to_vec();
        for &byte in path.as_os_str().as_bytes() {
            bytes.push(byte);
            if byte == b',' {
                bytes.push(byte);
            }
        }
        self.0.push(OsString::from_vec(bytes));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::recipe::model::Mib;
    use crate::run::Forward;

    fn parts() -> Parts {
        Parts {
            accel: Accel::Tcg,
            qemu: Version { major: 7, minor: 2 },
            boot: Boot::Uefi {
                code: Flash { path: "/fw/code.fd".into(), format: Format::Raw },
                vars: Flash { path: "/tmp/run/vars.fd".into(), format: Format::Raw },
            },
            disk: Disk {
                path: "/tmp/run/overlay.qcow2".into(),
                format: Format::Qcow2,
                bytes: 5 << 30,
                fate: Fate::ThrownAway,
            },
            serial: "/tmp/run/serial.sock".into(),
            marks: "/tmp/run/marks.sock".into(),
            config: None,
        }
    }

    fn check(options: &Options, parts: &Parts, want: Expect) {
        let mut text = String::new();
        for arg in plan(options, parts).args {
            let arg = arg.into_string().unwrap();
            let separator = if arg.starts_with('-') && arg.len() > 1 { '\n' } else { ' ' };
            text.push(separator);
            text.push_str(&arg);
        }
        want.assert_eq(&format!("{}\n", text.trim_start()));
    }

    #[test]
    fn a_plain_run_boots_an_overlay_through_firmware() {
        check(
            &Options::new("node"),
            &parts(),
            expect![[r#"
            -name orlop
            -nodefaults
            -no-user-config
            -display none
            -S
            -machine q35
            -accel tcg,thread=single
            -cpu max,erms=off,fsrm=off,cx16=off
            -smp 1
            -m 2048M
            -action reboot=shutdown,shutdown=pause,panic=shutdown
            -chardev socket,id=qmp,fd=0
            -mon chardev=qmp,mode=control
            -drive if=pflash,format=raw,unit=0,readonly=on,file=/fw/code.fd
            -drive if=pflash,format=raw,unit=1,file=/tmp/run/vars.fd
            -drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=/tmp/run/overlay.qcow2
            -device virtio-blk-pci,drive=disk,bootindex=0
            -chardev socket,id=serial,path=/tmp/run/serial.sock
            -serial chardev:serial
            -device virtio-serial-pci
            -chardev socket,id=marks,path=/tmp/run/marks.sock
            -device virtserialport,chardev=marks,name=org.orlop.boot
            -netdev user,id=net
            -device virtio-net-pci,netdev=net,romfile=
        "#]],
        );
    }

    #[test]
    fn a_direct_run_gives_qemu_the_kernel_and_every_option_has_its_place() {
        let mut options = Options::new("node");
        options.memory = Mib(512);
        options.cpus = Some(3);
        options.reboot = true;
        options.forward =
            vec![Forward { host: 6443, guest: 443 }, Forward { host: 10250, guest: 10250 }];
        let mut parts = parts();
        parts.accel = Accel::Kvm;
        parts.boot = Boot::Direct {
            kernel: "/build/a,b/vmlinuz".into(),
            initrd: "/build/a,b/initrd".into(),
            command_line: "ro panic=5 console=ttyS0".into(),
        };
        parts.disk = Disk {
            path: "/keep/a,b.raw".into(),
            format: Format::Raw,
            bytes: 1 << 30,
            fate: Fate::Kept,
        };
        parts.config = Some("/tmp/a,b/node.toml".into());
        check(
            &options,
            &parts,
            expect![[r#"
                -name orlop
                -nodefaults
                -no-user-config
                -display none
                -S
                -machine q35
                -accel kvm
                -cpu host
                -smp 3
                -m 512M
                -action reboot=reset,shutdown=pause,panic=shutdown
                -chardev socket,id=qmp,fd=0
                -mon chardev=qmp,mode=control
                -kernel /build/a,b/vmlinuz
                -initrd /build/a,b/initrd
                -append ro panic=5 console=ttyS0
                -drive if=none,id=disk,format=raw,cache=writeback,discard=unmap,file=/keep/a,,b.raw
                -device virtio-blk-pci,drive=disk
                -chardev socket,id=serial,path=/tmp/run/serial.sock
                -serial chardev:serial
                -device virtio-serial-pci
                -chardev socket,id=marks,path=/tmp/run/marks.sock
                -device virtserialport,chardev=marks,name=org.orlop.boot
                -fw_cfg name=opt/org.orlop/node.toml,file=/tmp/a,,b/node.toml
                -netdev user,id=net,hostfwd=tcp:127.0.0.1:6443-:443,hostfwd=tcp:127.0.0.1:10250-:10250
                -device virtio-net-pci,netdev=net,romfile=
            "#]],
        );
    }

    #[test]
    fn firmware_in_qcow2_form_is_read_as_that() {
        let mut parts = parts();
        parts.boot = Boot::Uefi {
            code: Flash { path: "/fw/code.qcow2".into(), format: Format::Qcow2 },
            vars: Flash { path: "/tmp/vars".into(), format: Format::Raw },
        };
        let args = plan(&Options::new("node"), &parts).args;
        for drive in [
            "if=pflash,format=qcow2,unit=0,readonly=on,file=/fw/code.qcow2",
            "if=pflash,format=raw,unit=1,file=/tmp/vars",
        ] {
            assert!(args.iter().any(|arg| arg == drive), "{args:?}");
        }
    }

    #[test]
    fn without_a_network_there_is_no_card() {
        let mut options = Options::new("node");
        options.no_network = true;
        let args = plan(&options, &parts()).args;
        let words: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert!(words.windows(2).any(|pair| pair == ["-nic", "none"]));
        assert!(words.iter().all(|word| !word.contains("virtio-net") && *word != "-netdev"));
    }

    #[test]
    fn what_is_meant_for_qemu_comes_last_and_untouched() {
        let rtc = ["-rtc", "base=1970-01-01,clock=vm"].map(OsString::from);
        let options = Options { qemu: rtc.to_vec(), ..Options::new("build/node") };
        assert!(plan(&options, &parts()).args.ends_with(&rtc));
    }

    #[test]
    fn a_repeatable_boot_counts_instructions_and_has_its_disk_in_memory() {
        let mut options = Options::new("node");
        options.direct = true;
        options.pmem = true;
        options.icount = Some(1);
        options.no_network = true;
        let mut parts = parts();
        parts.qemu = Version { major: 10, minor: 0 };
        parts.boot = Boot::Direct {
            kernel: "/build/vmlinuz".into(),
            initrd: "/build/initrd".into(),
            command_line: "ro".into(),
        };
        parts.disk = Disk {
            path: "/build/a,b.raw".into(),
            format: Format::Raw,
            bytes: (1 << 30) + (700 << 20),
            fate: Fate::ThrownAway,
        };
        check(
            &options,
            &parts,
            expect![[r#"
            -name orlop
            -nodefaults
            -no-user-config
            -display none
            -S
            -machine q35,nvdimm=on
            -accel tcg,thread=single
            -cpu max,erms=off,fsrm=off
            -icount shift=1,sleep=off
            -seed 1
            -rtc base=2040-01-01T00:00:00,clock=vm
            -smp 1
            -m 2048M,slots=1,maxmem=5120M
            -action reboot=shutdown,shutdown=pause,panic=shutdown
            -chardev socket,id=qmp,fd=0
            -mon chardev=qmp,mode=control
            -kernel /build/vmlinuz
            -initrd /build/initrd
            -append ro
            -object memory-backend-file,id=disk,share=off,size=1807745024,mem-path=/build/a,,b.raw
            -device nvdimm,memdev=disk
            -chardev socket,id=serial,path=/tmp/run/serial.sock
            -serial chardev:serial
            -device virtio-serial-pci
            -chardev socket,id=marks,path=/tmp/run/marks.sock
            -device virtserialport,chardev=marks,name=org.orlop.boot
            -nic none
        "#]],
        );
    }

    #[test]
    fn a_console_is_added_only_where_none_is_named() {
        for (line, want) in [
            ("", "console=ttyS0"),
            ("ro panic=5\n", "ro panic=5 console=ttyS0"),
            ("ro console=tty0 quiet", "ro console=tty0 quiet"),
        ] {
            assert_eq!(with_console(line), want);
        }
    }
}
