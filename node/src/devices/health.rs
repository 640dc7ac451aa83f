//! Damage that the kernel finds on STATE while the node runs: with `errors=remount-ro` it lets
//! nothing be written any more from then on, and tells nobody but its log. So that is followed
//! (`/dev/kmsg`, Documentation/ABI/testing/dev-kmsg): the count in `/sys/fs/ext4` changes without a
//! word when the file system stops (`ext4_handle_error`, fs/ext4/super.c).
//!
//! PID 1 reads what is written here and keeps it on the screen (`init/src/log/diagnosis.rs`).

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use formats::system::STATE_IS_DAMAGED;
use rustix::io::Errno;

use crate::root::Root;

const STATE: &str = "/var";
const KERNEL_LOG: &str = "/dev/kmsg";
const EXT4: &str = "/sys/fs/ext4";
/// The kernel's longest record (`PRINTK_MESSAGE_MAX`) is shorter.
const RECORD: usize = 8 * 1024;

/// Waits for damage, which on a good node never comes, and gives `log` the line about it.
///
/// # Errors
/// When the kernel's log cannot be read.
pub(super) fn watch(root: &Root, log: &mut dyn FnMut(&str)) -> io::Result<()> {
    let Some(device) = device(root)? else { return Ok(()) };
    let mut kernel = File::open(root.path(KERNEL_LOG))?;
    kernel.seek(SeekFrom::End(0))?;
    // Some may have been found before this runs, in this boot or an earlier one.
    if has_errors(root, &device) {
        kernel.seek(SeekFrom::Start(0))?;
    }
    let mut record = vec![0; RECORD];
    loop {
        match kernel.read(&mut record) {
            Ok(length) if is_damage(record.get(..length).unwrap_or_default(), &device) => {
                log(&line(&device));
                return Ok(());
            }
            Ok(_) => {}
            // Records were overwritten before they were read, or are of other use.
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::PIPE | Errno::INTR | Errno::INVAL) => {}
                _ => return Err(error),
            },
        }
    }
}

fn line(device: &str) -> String {
    format!(
        "{STATE_IS_DAMAGED}the kernel has found damage on STATE ({device}) and lets nothing be \
         written to it any more: restart the node; if it comes again, start it once with \
         `orlop.state=reset` on the kernel command line"
    )
}

/// Whether a record of the kernel's log, `PRIORITY,NUMBER,TIME,FLAGS;TEXT`, says so. What programs
/// write into the log has another facility than 0, the kernel's own.
fn is_damage(record: &[u8], device: &str) -> bool {
    let record = String::from_utf8_lossy(record);
    let Some((head, text)) = record.split_once(';') else { return false };
    let priority = head.split(',').next().and_then(|number| number.parse::<u32>().ok());
    // What it finds; that it goes on without writing, which says no more than that; or that the
    // journal has ended, which has no colon behind the device (`__ext4_std_error`).
    let begins = [
        format!("EXT4-fs error (device {device}): "),
        format!("EXT4-fs error (device {device}) in "),
        format!("EXT4-fs ({device}): Remounting filesystem read-only"),
    ];
    priority.is_some_and(|priority| priority < 8)
        && begins.iter().any(|begins| text.starts_with(begins.as_str()))
}

/// The kernel's name of the device of an ext4 that STATE is; nothing if it is in memory.
fn device(root: &Root) -> io::Result<Option<String>> {
    let number = fs::metadata(root.path(STATE))?.dev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let Ok(path) = fs::canonicalize(root.path(format!("/sys/dev/block/{major}:{minor}"))) else {
        return Ok(None);
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(name.filter(|name| root.path(Path::new(EXT4).join(name)).is_dir()))
}

fn has_errors(root: &Root, device: &str) -> bool {
    let count = fs::read_to_string(root.path(format!("{EXT4}/{device}/errors_count")));
    count.is_ok_and(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_device_of_state_is_found_if_it_is_an_ext4() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        fs::create_dir_all(root.path(STATE)).unwrap();
        assert_eq!(device(&root).unwrap(), None, "it is in memory");
        let number = fs::metadata(root.path(STATE)).unwrap().dev();
        let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        for made in ["/sys/devices/vda/vda5", "/sys/dev/block", "/sys/fs/ext4/vda1"] {
            fs::create_dir_all(root.path(made)).unwrap();
        }
        symlink("../../devices/vda/vda5", root.path("/sys/dev/block").join(number)).unwrap();
        assert_eq!(device(&root).unwrap(), None, "it is of another type");
        fs::create_dir_all(root.path("/sys/fs/ext4/vda5")).unwrap();
        assert_eq!(device(&root).unwrap().as_deref(), Some("vda5"));
    }

    #[test]
    fn damage_is_told_by_the_kernel_alone_and_of_this_device() {
        let found = "EXT4-fs error (device vda5): ext4_lookup:1855: inode #12: comm sh: bad";
        for (head, text, damage) in [
            ("2,811,92000000,-", found, true),
            ("2,811,92000000,-", "EXT4-fs error (device vda55): x", false),
            ("2,811,92000000,-", "EXT4-fs (vda5): Remounting filesystem read-only", true),
            ("2,811,92000000,-", "EXT4-fs error (device vda5) in ext4_dirty_inode:6047: IO", true),
            (
                "2,811,92000000,-",
                "EXT4-fs error (device vda55) in ext4_dirty_inode:6047: IO",
                false,
            ),
            ("4,811,92000000,-", "EXT4-fs (vda5): error count since last fsck: 1", false),
            ("10,811,92000000,-", found, false),
            ("x", found, false),
        ] {
            let record = format!("{head};{text}\n SUBSYSTEM=block\n");
            assert_eq!(is_damage(record.as_bytes(), "vda5"), damage, "{record}");
        }
        assert!(!is_damage(found.as_bytes(), "vda5"));
        assert!(line("vda5").starts_with(STATE_IS_DAMAGED));
    }

    proptest! {
        #[test]
        fn no_record_makes_the_parser_panic(record in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = is_damage(&record, "vda5");
        }
    }
}
