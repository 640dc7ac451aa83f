//! The server with QEMU's own client as the judge: `qemu-io`.

use super::*;
use crate::process::judge;

const SIZE: u64 = 1 << 20;

struct Sample {
    place: tempfile::TempDir,
    drive: Drive,
}

impl Sample {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("image");
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        let drive = Drive::new(&image, &place.path().join("socket")).unwrap();
        Self { place, drive }
    }

    /// What QEMU's own client says to these commands.
    fn client(&self, commands: &[&str]) -> Result<String> {
        let address = format!("nbd:unix:{}", self.place.path().join("socket").display());
        let mut args = vec!["-f", "raw", "-t", "writeback"];
        args.extend(commands.iter().flat_map(|command| ["-c", command]));
        args.push(&address);
        let said = judge("qemu-io", "qemu-utils", args)?;
        // It ends with success all the same.
        anyhow::ensure!(!said.contains("failed"), "{said}");
        Ok(said)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.place.path().join("image")).unwrap()
    }
}

#[test]
fn qemu_reads_what_it_has_written_and_it_is_in_the_image() {
    let sample = Sample::new();
    let [before, there] = [0..4096, 12287..12289].map(|bytes| sample.drive.watch(bytes));
    sample.client(&["write -P 7 4096 8192", "flush", "read -P 7 4096 8192"]).unwrap();
    sample.client(&["read -P 0 0 4096", "read -P 7 4096 512", "read -P 0 12288 1M"]).unwrap_err();
    sample.client(&["read -P 0 0 4096", "read -P 7 4096 512", "read -P 0 12288 4096"]).unwrap();
    let bytes = sample.bytes();
    assert!(bytes.len() == 1 << 20 && bytes[4096..12288] == [7; 8192] && bytes[12288] == 0);
    assert_eq!(sample.drive.writes(), 1);
    assert!(there.try_recv().is_ok() && before.try_recv().is_err());
}

#[test]
fn sectors_fail_until_they_work_again() {
    let sample = Sample::new();
    sample.drive.fails(8192..8704, Fails::Write);
    sample.drive.fails(16384..16385, Fails::Read);
    assert!(sample.client(&["write -P 1 4096 8192"]).is_err());
    assert!(sample.client(&["read 16384 512"]).is_err());
    sample.client(&["read 8192 512", "write -P 2 8704 512", "write -P 2 16384 512"]).unwrap();
    assert_eq!(sample.drive.works(), 2);
    sample.client(&["read -P 0 8192 512", "write -P 1 8192 512", "read -P 2 16384 512"]).unwrap();
    assert_eq!(sample.drive.works(), 0);
}

#[test]
fn the_power_goes_at_a_write_and_what_was_not_flushed_is_lost_in_part() {
    let sample = Sample::new();
    let (sender, told) = mpsc::channel();
    sample.drive.cut_after(2, move || sender.send(()).unwrap());
    let flushed = ["write -P 1 0 4096", "flush", "write -P 2 4096 4096", "write -P 3 8192 4096"];
    assert!(sample.client(&flushed).is_err());
    told.recv().unwrap();
    assert!(sample.drive.was_cut());
    assert!(sample.client(&["read 0 512"]).is_err(), "the power has gone");
    let all = sample.bytes();
    assert!(all[..4096] == [1; 4096] && all[4096..8192] == [2; 4096] && all[8192] == 0);
    // Two of its eight sectors have come.
    let mut numbers = [1, 2].into_iter();
    assert_eq!(sample.drive.lose(&mut || numbers.next().unwrap()).unwrap(), (1, 1));
    let rest = sample.bytes();
    assert!(rest[..4096] == [1; 4096] && rest[4096..5120] == [2; 1024] && rest[5120] == 0);
    assert_eq!(sample.drive.lose(&mut || 0).unwrap(), (0, 0));
}

#[test]
fn a_cut_that_has_not_come_is_taken_back() {
    let sample = Sample::new();
    sample.drive.cut_after(1, || panic!("nobody cuts it"));
    sample.client(&["write -P 1 0 512"]).unwrap();
    assert!(!sample.drive.was_cut());
    sample.client(&["write -P 1 0 512", "write -P 1 512 512"]).unwrap();
}
