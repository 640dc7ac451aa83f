//! The places which may have a node config, in the order in which they are asked, and how.

use std::fs;
use std::io;

use formats::command_line;

use super::disks::{Contents, Disk, Disks};
use super::pin::{Device, Pin};
use super::volume::{self, Volume};
use super::{Candidate, Decision, Found, LIMIT, Origin, decide, oem, text};
use crate::root::Root;

/// The file of QEMU's firmware configuration.
pub const FW_CFG: &str = "opt/org.orlop/node.toml";
/// The key of the SMBIOS OEM string, whose value is an address.
pub const OEM_KEY: &str = "org.orlop.config";

const COMMAND_LINE: &str = "/proc/cmdline";
const FW_CFG_BY_NAME: &str = "/sys/firmware/qemu_fw_cfg/by_name";
const DMI_ENTRIES: &str = "/sys/firmware/dmi/entries";

/// A structure has at most 255 strings.
const MOST_OEM_BYTES: u64 = 256 * 1024;

/// What the places have, all in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The place that counts.
    pub decision: Decision,
    /// What people should know: volumes that are not heard, disks that do not answer.
    pub problems: Vec<String>,
    /// A disk that has not answered may have what was looked for.
    pub is_open: bool,
}

/// The text of the kernel command line, or why it cannot be read.
pub type CommandLine = Result<String, String>;

/// Reads it. It never changes, so once is enough.
pub fn command_line(root: &Root) -> CommandLine {
    match root.read(COMMAND_LINE, LIMIT) {
        Ok(line) => Ok(String::from_utf8_lossy(&line.unwrap_or_default()).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks the places in their order, each only if those before it have nothing. The disks are
/// [`super::disks::Processes`] on a node.
pub fn ask(root: &Root, line: &CommandLine, pin: &Pin, disks: &dyn Disks) -> Answers {
    let mut seen = Seen::default();
    let first = std::iter::once_with(|| kernel_command_line(line));
    let others: [fn(&Root) -> Candidate; 2] = [fw_cfg, smbios];
    let volumes = std::iter::once_with(|| volumes(pin, disks, &mut seen)).flatten();
    let decision = decide(first.chain(others.into_iter().map(|ask| ask(root))).chain(volumes));
    let is_open = decision.chosen.is_none() && seen.is_missing;
    Answers { decision, problems: seen.problems, is_open }
}

fn kernel_command_line(line: &CommandLine) -> Candidate {
    let found = match line {
        Ok(line) => match command_line::config(line) {
            Ok(Some(address)) => Found::Address(address),
            Ok(None) => Found::Nothing("no `orlop.config`"),
            Err(error) => Found::Unusable(error.to_string()),
        },
        Err(error) => Found::Unusable(format!("cannot be read: {error}")),
    };
    Candidate { origin: Origin::new("kernel command line"), device: None, found }
}

fn fw_cfg(root: &Root) -> Candidate {
    let file = root.read(format!("{FW_CFG_BY_NAME}/{FW_CFG}/raw"), LIMIT);
    Candidate {
        origin: Origin::new(format!("fw_cfg {FW_CFG}")),
        device: None,
        found: of_file(file, "no such file"),
    }
}

fn smbios(root: &Root) -> Candidate {
    let origin = Origin::new("SMBIOS OEM string");
    let nothing = || Found::Nothing("no `org.orlop.config`");
    let structures = match oem_structures(root) {
        Ok(structures) => structures,
        // No SMBIOS, or no reading it: nobody can have put a config there.
        Err(_) => return Candidate { origin, device: None, found: nothing() },
    };
    let value = structures.iter().find_map(|raw| oem::value(raw, OEM_KEY));
    let found = match value.map(|value| String::from_utf8_lossy(value).into_owned()) {
        None => nothing(),
        Some(address) if command_line::is_config_address(&address) => Found::Address(address),
        Some(other) => Found::Unusable(format!(
            "`{OEM_KEY}={other}`: expected an address that begins with http:// or https://"
        )),
    };
    Candidate { origin, device: None, found }
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

/// What is to be told of the disks.
#[derive(Debug, Default)]
struct Seen {
    problems: Vec<String>,
    /// One that may have the config has not answered.
    is_missing: bool,
}

/// Each volume with a label of ours is a candidate of its own, until one has our file; a `cidata`
/// volume without it is somebody else's.
fn volumes(pin: &Pin, disks: &dyn Disks, seen: &mut Seen) -> Vec<Candidate> {
    let looked = disks.look();
    for disk in looked.iter().filter(|disk| disk.volumes.is_none()) {
        let name = &disk.name;
        seen.problems.push(format!("the disk {name} does not answer: is a node config on it?"));
        seen.is_missing |= pin.may_be_on(disk);
    }
    let on = |disk: &Disk, volume: &Volume| Device {
        id: disk.id.clone().flatten(),
        path: disk.path.clone(),
        partition: volume.partition,
    };
    let all = looked.iter().flat_map(|disk| disk.volumes.iter().flatten().map(move |v| (disk, v)));
    let mut all: Vec<(&Disk, &Volume)> = all.collect();
    all.sort_by_key(|(_, volume)| volume::order(volume));
    let mut candidates = Vec::new();
    let mut has_config = false;
    for (disk, volume) in all {
        let origin = Origin::volume(volume.label, &volume.device);
        let name = origin.to_string();
        let device = on(disk, volume);
        if !pin.hears(&device) {
            seen.problems.push(pin.refusal(&name));
        } else if !has_config {
            let found = match disks.read(&disk.name, volume) {
                Contents::File(bytes) => of_bytes(bytes),
                Contents::NoFile => Found::Nothing("no file `node.toml`"),
                Contents::Unusable(why) => Found::Unusable(why),
                Contents::Silent => {
                    seen.problems.push(format!("{name} does not answer"));
                    seen.is_missing = true;
                    Found::Nothing("does not answer")
                }
            };
            has_config = !matches!(found, Found::Nothing(_));
            candidates.push(Candidate { origin, device: Some(device), found });
        }
    }
    if candidates.is_empty() {
        let found = Found::Nothing("none for this node is labelled ORLOP or cidata");
        candidates.push(Candidate { origin: Origin::new("volumes"), device: None, found });
    }
    candidates
}

fn of_bytes(bytes: Vec<u8>) -> Found {
    text(bytes).map_or_else(Found::Unusable, Found::Text)
}

fn of_file(file: io::Result<Option<Vec<u8>>>, lacks: &'static str) -> Found {
    match file {
        Ok(None) => Found::Nothing(lacks),
        Ok(Some(bytes)) => of_bytes(bytes),
        Err(error) => Found::Unusable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};
    use crate::source::label::FileSystem;

    const NO_LINE: CommandLine = Ok(String::new());

    fn root(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for (path, bytes) in files {
            root.write(path, bytes, PUBLIC, Keep::ThisBoot).unwrap();
        }
        (directory, root)
    }

    /// Disks as they are, with what each volume has; nothing else may be read.
    #[derive(Debug, Default)]
    struct MadeUp(Vec<Disk>, Vec<(&'static str, Contents)>);

    impl Disks for MadeUp {
        fn look(&self) -> Vec<Disk> {
            self.0.clone()
        }

        fn read(&self, disk: &str, volume: &Volume) -> Contents {
            assert!(self.0.iter().any(|known| known.name == disk), "{disk}");
            let known = self.1.iter().find(|(device, _)| *device == volume.device);
            known.unwrap_or_else(|| panic!("{volume:?} is not to be read")).1.clone()
        }
    }

    /// A disk with this label, which says no more of itself than its place.
    fn disk(name: &str, label: &'static str) -> Disk {
        let file_system = FileSystem::Iso9660;
        let volume = Volume { device: name.to_owned(), partition: None, label, file_system };
        let volumes = Some(vec![volume]);
        Disk { name: name.to_owned(), path: format!("pci-{name}"), id: Some(None), volumes }
    }

    fn silent(name: &str) -> Disk {
        Disk { name: name.to_owned(), path: format!("pci-{name}"), id: None, volumes: None }
    }

    fn file(text: &str) -> Contents {
        Contents::File(text.as_bytes().to_vec())
    }

    fn pinned_to(name: &str) -> Pin {
        Pin::Device(Device { id: None, path: format!("pci-{name}"), partition: None })
    }

    fn answers(root: &Root) -> Vec<(String, Found)> {
        let disks = MadeUp::default();
        let first = [kernel_command_line(&command_line(root)), fw_cfg(root), smbios(root)];
        let all = first.into_iter().chain(volumes(&Pin::Open, &disks, &mut Seen::default()));
        all.map(|one| (one.origin.to_string(), one.found)).collect()
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
                nothing("volumes", "none for this node is labelled ORLOP or cidata"),
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
        let disks = [disk("vdb", "cidata"), disk("vdc", "cidata"), disk("vdd", "ORLOP")];
        let damaged = Contents::Unusable("cannot mount it".to_owned());
        let disks = MadeUp(disks.to_vec(), vec![("vdd", Contents::NoFile), ("vdb", damaged)]);
        let Answers { decision, problems, is_open } = ask(&root, &NO_LINE, &Pin::Open, &disks);
        let chosen = decision.chosen.unwrap();
        assert_eq!(chosen.origin.to_string(), "volume cidata (vdb)");
        assert_eq!(chosen.found, Found::Unusable("cannot mount it".to_owned()));
        let asked = "volume ORLOP (vdd): no file `node.toml`)";
        assert!(decision.reason.ends_with(asked), "{}", decision.reason);
        assert_eq!((problems, is_open), (vec![], false));
    }

    #[test]
    fn a_node_with_a_config_hears_no_other_disk_than_the_one_it_had_it_from() {
        let (_directory, root) = root(&[]);
        let ours = || vec![("vdb", file("schema = 1"))];
        let disks = MadeUp(vec![disk("vda", "ORLOP"), disk("vdb", "cidata")], ours());
        let Answers { decision, problems, is_open } =
            ask(&root, &NO_LINE, &pinned_to("vdb"), &disks);
        let chosen = decision.chosen.unwrap();
        assert_eq!(chosen.origin.to_string(), "volume cidata (vdb)");
        assert_eq!(chosen.device.unwrap().path, "pci-vdb");
        let refusal = pinned_to("vdb").refusal("volume ORLOP (vda)");
        assert_eq!((problems, is_open), (vec![refusal], false));

        // Its own disk is gone, or it never had one: whatever comes later is not read.
        let elsewhere = Pin::Elsewhere("from fw_cfg x".to_owned());
        for pin in [pinned_to("vdb"), elsewhere] {
            let disks = MadeUp(vec![disk("vdc", "ORLOP")], vec![]);
            let Answers { decision, problems, is_open } = ask(&root, &NO_LINE, &pin, &disks);
            assert_eq!(decision.chosen, None);
            assert_eq!((problems, is_open), (vec![pin.refusal("volume ORLOP (vdc)")], false));
        }
        // What no pod can write is heard all the same.
        root.write(RAW, b"schema = 1\n", PUBLIC, Keep::ThisBoot).unwrap();
        let Answers { decision, .. } = ask(&root, &NO_LINE, &pinned_to("vdb"), &MadeUp::default());
        assert_eq!(decision.chosen.unwrap().origin.to_string(), format!("fw_cfg {FW_CFG}"));
    }

    #[test]
    fn a_disk_that_does_not_answer_keeps_nobody_from_the_others() {
        let (_directory, root) = root(&[]);
        let told = "the disk vdc does not answer: is a node config on it?";
        let ask = |pin: &Pin, disks: MadeUp| {
            let Answers { decision, problems, is_open } = ask(&root, &NO_LINE, pin, &disks);
            let chosen = decision.chosen.map(|chosen| chosen.origin.to_string());
            (chosen, problems, is_open)
        };
        let ours = || vec![("vdb", file("schema = 1"))];
        let vdb = Some("volume cidata (vdb)".to_owned());
        let both = || vec![disk("vdb", "cidata"), silent("vdc")];
        // What is found counts, and nobody waits for more.
        let one = vec![told.to_owned()];
        assert_eq!(ask(&Pin::Open, MadeUp(both(), ours())), (vdb, one.clone(), false));
        // Nothing is found: it may be there.
        for (pin, is_open) in [
            (Pin::Open, true),
            (pinned_to("vdc"), true),
            (pinned_to("vdd"), false),
            (Pin::Elsewhere("from fw_cfg x".to_owned()), false),
        ] {
            let disks = MadeUp(vec![silent("vdc")], vec![]);
            assert_eq!(ask(&pin, disks), (None, one.clone(), is_open), "{pin:?}");
        }
    }

    #[test]
    fn a_disk_that_stops_answering_when_its_file_is_read_is_passed_over_and_not_given_up() {
        let (_directory, root) = root(&[]);
        let both = || vec![disk("vdb", "ORLOP"), disk("vdc", "cidata")];
        let silent = ("vdb", Contents::Silent);
        for (other, chosen, is_open) in [
            (file("schema = 1"), Some("volume cidata (vdc)".to_owned()), false),
            (Contents::NoFile, None, true),
        ] {
            let disks = MadeUp(both(), vec![silent.clone(), ("vdc", other)]);
            let answers = ask(&root, &NO_LINE, &Pin::Open, &disks);
            assert_eq!(answers.decision.chosen.map(|one| one.origin.to_string()), chosen);
            assert_eq!(answers.problems, ["volume ORLOP (vdb) does not answer"]);
            assert_eq!(answers.is_open, is_open);
        }
    }
}
