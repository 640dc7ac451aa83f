//! The thread that writes log files. A file that cannot be written, for the disk is full, is tried
//! again after a while; what was lost until then is counted, and said where it is lacking.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::ring::{Batch, Ring, Target};
use super::rotated_file::RotatedFile;
use crate::message::{self, FromUnit};
use crate::{clock, log};

/// The first pause after a failure; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Writes what comes until nothing comes any more, and tells PID 1 what of its `own` is done.
pub(super) fn write_all(ring: &Ring, own: &Target, channel: &OwnedFd) {
    let mut writer = Writer::default();
    let mut done = 0;
    while let Some(batch) = ring.take() {
        writer.write(clock::monotonic(), &batch);
        if batch.to.path != own.path {
            continue;
        }
        // What went from the ring is counted as lacking by now; of what never came so far PID 1 knows.
        done += batch.count + batch.dropped;
        // If there is no room, with the next ones.
        if let Ok(true) = message::send(channel, &FromUnit::Written(done).encode()) {
            done = 0;
        }
    }
}

#[derive(Debug, Default)]
struct Writer {
    files: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    file: RotatedFile,
    /// Lines that are lacking at its end.
    lacking: u64,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    until: Duration,
    pause: Duration,
}

impl Writer {
    fn write(&mut self, now: Duration, batch: &Batch) {
        let path = &batch.to.path;
        let at = self.files.iter().position(|entry| entry.path == *path);
        let at = at.unwrap_or_else(|| {
            let file = RotatedFile::new(path.clone(), batch.to.limit);
            self.files.push(Entry { path: path.clone(), file, lacking: 0, failure: None });
            self.files.len() - 1
        });
        let entry = &mut self.files[at];
        entry.lacking += batch.lacking;
        if entry.failure.as_ref().is_some_and(|failure| now < failure.until) {
            entry.lacking += batch.count;
            return;
        }
        let mut text = Vec::new();
        if entry.lacking > 0 {
            let reason = entry.failure.as_ref().map(|failure| failure.reason.as_str());
            let reason = reason.unwrap_or("they came faster than the disk takes them");
            text.extend(
                format!("orlop: {} lines are lacking here: {reason}\n", entry.lacking).bytes(),
            );
        }
        text.extend_from_slice(&batch.text);
        match entry.file.append(&text) {
            Ok(()) => (entry.lacking, entry.failure) = (0, None),
            Err(error) => {
                entry.lacking += batch.count;
                let pause = match &entry.failure {
                    Some(failure) => (failure.pause * 2).min(LONGEST_PAUSE),
                    None => {
                        log::warn(&format!("cannot write {}: {error}", path.display()));
                        FIRST_PAUSE
                    }
                };
                let (reason, until) = (error.to_string(), now + pause);
                entry.failure = Some(Failure { reason, until, pause });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn batch(to: &Arc<Target>, line: &str, lacking: u64) -> Batch {
        Batch {
            to: Arc::clone(to),
            text: format!("{line}\n").into_bytes(),
            count: 1,
            lacking,
            dropped: 0,
        }
    }

    #[test]
    fn what_went_from_the_ring_is_done_with_as_what_was_written_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = Target::new(directory.path().join("init.log"), 1 << 30);
        let ring = Ring::default();
        let (ours, theirs) = message::pair().expect("a pair");
        let line = [b'x'; 1000];
        let all = 5000;
        for _ in 0..all {
            ring.push(&own, &line);
        }
        // Before they reached us.
        own.lacks(7);
        ring.close();
        write_all(&ring, &own, &theirs);
        let mut done = 0;
        while let message::Received::Packet(packet, None) = message::receive(&ours) {
            match FromUnit::parse(&packet) {
                Some(FromUnit::Written(count)) => done += count,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(done, all);
        let text = std::fs::read_to_string(&own.path).expect("readable");
        let written = text.lines().filter(|text| text.starts_with('x')).count() as u64;
        let lacking = format!("orlop: {} lines are lacking here", all - written + 7);
        assert!(written < all && text.contains(&lacking), "{written}");
    }

    #[test]
    fn a_disk_that_is_full_for_a_while_costs_the_lines_of_that_while_and_they_are_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.log");
        std::os::unix::fs::symlink("/dev/full", &path).expect("made");
        let to = Target::new(path.clone(), 1000);
        let mut writer = Writer::default();
        let ms = Duration::from_millis;
        for (now, line) in [(0, "a"), (50, "b"), (100, "c")] {
            writer.write(ms(now), &batch(&to, line, 0));
        }
        std::fs::remove_file(&path).expect("removed");
        // Not before the pause is over, which has doubled.
        writer.write(ms(299), &batch(&to, "d", 0));
        assert!(!path.exists());
        writer.write(ms(300), &batch(&to, "e", 0));
        writer.write(ms(301), &batch(&to, "f", 2));
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(
            text,
            "orlop: 4 lines are lacking here: No space left on device (os error 28)\ne\n\
             orlop: 2 lines are lacking here: they came faster than the disk takes them\nf\n"
        );
    }
}
