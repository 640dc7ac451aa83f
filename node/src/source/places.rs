//! The places which may have a node config, in the order in which they are asked, and how.

use std::fs;
use std::io;

use formats::command_line;

use super::{Candidate, Found, LIMIT, Origin, oem, text, volume};
use crate::root::Root;

/// The file of QEMU's firmware configuration.
pub const FW_CFG: &str = "opt/org.orlop/node.toml";
/// The key of the SMBIOS OEM string, whose value is an address.
pub const OEM_KEY: &str = "org.orlop.config";

const FW_CFG_BY_NAME: &str = "/sys/firmware/qemu_fw_cfg/by_name";
const DMI_ENTRIES: &str = "/sys/firmware/dmi/entries";

/// A structure has at most 255 strings.
const MOST_OEM_BYTES: u64 = 256 * 1024;

/// Asks the places in their order, each only when the iterator comes to it. `read_volume` is
/// [`volume::read`] on a node.
pub fn all<'a>(
    root: &'a Root,
    read_volume: &'a volume::Read,
) -> impl Iterator<Item = Candidate> + 'a {
    let first: [fn(&Root) -> Candidate; 3] = [kernel_command_line, fw_cfg, smbios];
    let volumes = std::iter::once_with(move || volumes(root, read_volume)).flatten();
    first.into_iter().map(move |ask| ask(root)).chain(volumes)
}

fn kernel_command_line(root: &Root) -> Candidate {
    let found = match root.read("/proc/cmdline", LIMIT) {
        Ok(line) => match command_line::config(&String::from_utf8_lossy(&line.unwrap_or_default()))
        {
            Ok(Some(address)) => Found::Address(address),
            Ok(None) => Found::Nothing("no `orlop.config`"),
            Err(error) => Found::Unusable(error.to_string()),
        },
        Err(error) => Found::Unusable(format!("cannot be read: {error}")),
    };
    Candidate { origin: Origin::new("kernel command line"), found }
}

fn fw_cfg(root: &Root) -> Candidate {
    let file = root.read(format!("{FW_CFG_BY_NAME}/{FW_CFG}/raw"), LIMIT);
    Candidate {
        origin: Origin::new(format!("fw_cfg {FW_CFG}")),
        found: of_file(file, "no such file"),
    }
}

fn smbios(root: &Root) -> Candidate {
    let origin = Origin::new("SMBIOS OEM string");
    let nothing = || Found::Nothing("no `org.orlop.config`");
    let structures = match oem_structures(root) {
        Ok(structures) => structures,
        // No SMBIOS, or no reading it: nobody can have put a config there.
        Err(_) => return Candidate { origin, found: nothing() },
    };
    let value = structures.iter().find_map(|raw| oem::value(raw, OEM_KEY));
    let found = match value.map(|value| String::from_utf8_lossy(value).into_owned()) {
        None => nothing(),
        Some(address) if command_line::is_config_address(&address) => Found::Address(address),
        Some(other) => Found::Unusable(format!(
            "`{OEM_KEY}={other}`: expected an address that begins with http:// or https://"
        )),
    };
    Candidate { origin, found }
}

/// The structures of type 11, in the order of their numbers.
fn oem_structures(root: &Root) -> io::Result<Vec<Vec<u8>>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(root.path(DMI_ENTRIES))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("11-")?.parse::<u32>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let mut structures = Vec::new();
    for number in numbers {
        structures.extend(root.read(format!("{DMI_ENTRIES}/11-{number}/raw"), MOST_OEM_BYTES)?);
    }
    Ok(structures)
}

/// Each volume with a label of ours is a candidate of its own; a `cidata` volume without our file
/// is somebody else's.
fn volumes<'a>(root: &'a Root, read: &'a volume::Read) -> Box<dyn Iterator<Item = Candidate> + 'a> {
    let volumes = volume::find(root);
    if volumes.is_empty() {
        let found = Found::Nothing("none is labelled ORLOP or cidata");
        return Box::new(std::iter::once(Candidate { origin: Origin::new("volumes"), found }));
    }
    Box::new(volumes.into_iter().map(move |volume| Candidate {
        origin: Origin::new(format!("volume {} ({})", volume.label, volume.device)),
        found: of_file(read(root, &volume), "no file `node.toml`"),
    }))
}

fn of_file(file: io::Result<Option<Vec<u8>>>, lacks: &'static str) -> Found {
    match file {
        Ok(None) => Found::Nothing(lacks),
        Ok(Some(bytes)) => text(bytes).map_or_else(Found::Unusable, Found::Text),
        Err(error) => Found::Unusable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    fn root(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for (path, bytes) in files {
            root.write(path, bytes, PUBLIC, Keep::ThisBoot).unwrap();
        }
        (directory, root)
    }

    fn no_volume(_: &Root, volume: &volume::Volume) -> io::Result<Option<Vec<u8>>> {
        panic!("{volume:?} is not there")
    }

    fn answers(root: &Root) -> Vec<(String, Found)> {
        all(root, &no_volume).map(|one| (one.origin.to_string(), one.found)).collect()
    }

    const RAW: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.orlop/node.toml/raw";

    #[test]
    fn the_places_are_asked_in_their_order_and_may_all_be_absent() {
        let (_directory, root) = root(&[]);
        let nothing = |place: &str, lacks| (place.to_owned(), Found::Nothing(lacks));
        assert_eq!(
            answers(&root),
            [
                nothing("kernel command line", "no `orlop.config`"),
                nothing("fw_cfg opt/org.orlop/node.toml", "no such file"),
                nothing("SMBIOS OEM string", "no `org.orlop.config`"),
                nothing("volumes", "none is labelled ORLOP or cidata"),
            ]
        );
    }

    #[test]
    fn each_place_gives_what_it_has() {
        let (_directory, root) = root(&[
            ("/proc/cmdline", b"quiet orlop.config=http://h.example/n\n"),
            (RAW, b"schema = 1\n"),
            (
                "/sys/firmware/dmi/entries/11-10/raw",
                b"\x0b\x05\0\0\x01org.orlop.config=http://t\0\0",
            ),
            (
                "/sys/firmware/dmi/entries/11-9/raw",
                b"\x0b\x05\0\0\x01org.orlop.config=http://n\0\0",
            ),
            ("/sys/firmware/dmi/entries/1-0/raw", b"\x0b\x05\0\0\x01org.orlop.config=http://o\0\0"),
        ]);
        let found: Vec<_> = answers(&root).into_iter().map(|(_, found)| found).take(3).collect();
        assert_eq!(
            found,
            [
                Found::Address("http://h.example/n".to_owned()),
                Found::Text("schema = 1\n".to_owned()),
                Found::Address("http://n".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_there_and_wrong_is_not_passed_over() {
        let large = vec![b'#'; usize::try_from(LIMIT).unwrap() + 1];
        let unusable = |path: &str, bytes: &[u8]| {
            let (_directory, root) = root(&[(path, bytes)]);
            answers(&root).into_iter().find_map(|(_, found)| match found {
                Found::Unusable(why) => Some(why),
                _ => None,
            })
        };
        let address = "expected an address that begins with http:// or https://";
        for (path, bytes, why) in [
            (
                "/proc/cmdline",
                &b"orlop.config=/node.toml"[..],
                format!("`orlop.config=/node.toml` on the kernel command line: {address}"),
            ),
            (RAW, &large, "it has more than 1048576 bytes".to_owned()),
            (RAW, b"\xff", "line 1 is not UTF-8 text".to_owned()),
            (
                "/sys/firmware/dmi/entries/11-0/raw",
                b"\x0b\x05\0\0\x01org.orlop.config=yes\0\0",
                format!("`org.orlop.config=yes`: {address}"),
            ),
        ] {
            assert_eq!(unusable(path, bytes), Some(why));
        }
    }

    #[test]
    fn a_volume_without_the_file_is_passed_over_and_a_damaged_one_is_not() {
        let (_directory, root) = root(&[]);
        let mut disc = vec![0; 0x8800];
        disc[0x8000..0x8006].copy_from_slice(b"\x01CD001");
        for (device, label) in [("vdb", "CIDATA"), ("vdc", "cidata"), ("vdd", "ORLOP")] {
            disc[0x8028..0x8048].copy_from_slice(format!("{label:32}").as_bytes());
            root.write(format!("/dev/{device}"), &disc, PUBLIC, Keep::ThisBoot).unwrap();
            let class = format!("/sys/class/block/{device}/size");
            root.write(class, b"68\n", PUBLIC, Keep::ThisBoot).unwrap();
        }
        let read = |_: &Root, volume: &volume::Volume| match volume.device.as_str() {
            "vdb" => Ok(Some(b"schema = 1".to_vec())),
            "vdc" => Err(io::Error::other("cannot mount it")),
            _ => Ok(None),
        };
        let found: Vec<_> =
            all(&root, &read).skip(3).map(|one| (one.origin.to_string(), one.found)).collect();
        assert_eq!(
            found,
            [
                ("volume ORLOP (vdd)".to_owned(), Found::Nothing("no file `node.toml`")),
                ("volume cidata (vdb)".to_owned(), Found::Text("schema = 1".to_owned())),
                ("volume cidata (vdc)".to_owned(), Found::Unusable("cannot mount it".to_owned())),
            ]
        );
    }
}
