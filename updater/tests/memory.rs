//! The memory that an update takes: at most 128 MiB, whatever the way and the image. A program of its
//! own, for the peak is that of a process.

#[path = "shared/mod.rs"]
mod shared;

use std::fs::{self, OpenOptions};
use std::path::Path;

use formats::delta::WINDOW;
use updater::cancel::Cancel;
use updater::client::Mirrors;
use updater::device::FileDevice;
use updater::transport::{Running, Wanted, Way, fetch_image};
use updater::trust::Channel;

use shared::world::{CLOCK, Made, World, directory, noise, quick};

const MIB: usize = 1 << 20;
/// Of a node's root image.
const IMAGE: usize = 150 * MIB;
const MOST: u64 = 128 << 20;
// A delta's window is the largest part of it.
const _: () = assert!(WINDOW < MOST);

/// An image of which a part is noise, so that it takes as long to fetch as one that is packed well.
fn image(salt: u8, changed: bool) -> Made {
    let mut data = noise(11, 8 * MIB).repeat(IMAGE / MIB / 8 + 1);
    data.truncate(IMAGE);
    // No two pieces alike.
    for (number, block) in data.chunks_mut(4096).enumerate() {
        block[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    if changed {
        for (number, piece) in (0_u64..).zip(data.chunks_mut(10 * MIB)) {
            piece[..MIB].copy_from_slice(&noise(number + 100, MIB));
        }
    }
    Made::of(salt, data)
}

fn device(path: &Path) -> FileDevice {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a slot");
    FileDevice::new(file).expect("a device")
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().expect("a number");
    kib << 10
}

#[test]
fn an_update_takes_no_more_than_128_mib() {
    let mut world = World::new();
    let slots = tempfile::tempdir().expect("a directory");
    let [running_at, spare_at] = ["a", "b"].map(|name| slots.path().join(name));
    let (old_root, size) = {
        let [old, new] = [image(1, false), image(2, true)];
        world.add("2.0", &new, &[("1.0", &old)]);
        world.publish();
        fs::write(&running_at, old.slot()).expect("written");
        (old.root, new.slot().len() as u64)
    };
    let store = world.store();
    let place = world.place();
    let state = world.directory;
    // What the test itself holds is none of the program's.
    let before = {
        fs::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
        status("VmHWM")
    };
    assert!(before < 64 << 20, "{before} bytes of the test's own");
    let mut said = Vec::new();
    for (version, want) in
        [(Some("2.0"), Way::Delta), (Some("2.0"), Way::Blocks), (None, Way::Whole)]
    {
        let file = fs::File::create(&spare_at).expect("a slot");
        file.set_len(size).expect("room");
        let mirrors = Mirrors::new(vec![directory(&place)], quick(), Cancel::new(), &|_| ());
        let channel = Channel::open(&mirrors, &store, CLOCK, None).expect("trusted");
        let verified = channel.release(version).expect("a release");
        let mut wanted = Wanted::root(&verified.release).expect("an image");
        if want != Way::Delta {
            wanted.deltas.clear();
        }
        let running = device(&running_at);
        let running = Running { hash: old_root.hash, size: old_root.size, device: &running };
        let running = (want != Way::Whole).then_some(running);
        fs::write("/proc/self/clear_refs", "5").expect("the peak begins anew");
        let arrived = fetch_image(&channel, &wanted, running, &mut device(&spare_at), &|_| ());
        let arrived = arrived.expect("it arrives");
        let peak = status("VmHWM");
        said.push(format!("{:?}: {} MiB at most, {arrived:?}", arrived.way, peak >> 20));
        assert_eq!(arrived.way, want, "{said:?}");
        assert!(peak < MOST, "{said:?}");
    }
    eprintln!("{}", said.join("\n"));
    drop(state);
}
