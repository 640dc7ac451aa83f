//! PID 1 of OrlopOS. The same binary is `/init` of the initrd and `/usr/lib/orlop/init` of the
//! root; which of the two it is, it sees from what it stands on. Started by PID 1 with the name of a
//! built-in unit it is that unit, called `mount` or `umount` it is that.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use init::{applets, initrd, log, network, process, root, shutdown};

/// `RAMFS_MAGIC` and `TMPFS_MAGIC` of `include/uapi/linux/magic.h`.
const MEMORY: [u64; 2] = [0x8584_58f6, 0x0102_1994];

fn main() -> ExitCode {
    if let Some(status) = applets::run(std::env::args_os()) {
        return status;
    }
    if !process::is_pid_1() {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        match arguments.as_slice() {
            [unit] if unit == "network" => return network::main(),
            [unit, logs] if unit == "log" => return log::service::main(Path::new(logs)),
            _ => {}
        }
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("orlop init {version}: this is PID 1 of a node, the kernel starts it\n");
        // If stderr is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
        return ExitCode::from(2);
    }
    shutdown::restart_on_panic();
    let failure = if in_initrd() {
        initrd::run().map(|never| match never {}).unwrap_or_else(|error| error.to_string())
    } else {
        root::run().map(|never| match never {}).unwrap_or_else(|error| error)
    };
    shutdown::boot_failed(&failure)
}

/// An initramfs is in memory and says what it is; the root is never both.
fn in_initrd() -> bool {
    let memory = rustix::fs::statfs("/")
        .is_ok_and(|root| u64::try_from(root.f_type).is_ok_and(|kind| MEMORY.contains(&kind)));
    memory && Path::new("/etc/initrd-release").exists()
}
