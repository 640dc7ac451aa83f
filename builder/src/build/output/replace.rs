//! Puts a finished directory in its place. What was there before is whole until the new build is
//! there, and only then removed.
//!
//! In one step where the file system can exchange two names. Where it cannot, the old directory is
//! moved aside, and back if the new one cannot be moved in. Where not even that can be done (a
//! mount point; a directory of a lower layer on overlayfs) the files are moved one by one. What a
//! power cut leaves aside the next build finds.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::occupant::{Names, look};
use super::{Beside, lock, lock_if_free};
use crate::durable;

/// Puts the directory `new` at `place`. Returns where the build is now that was there before.
///
/// # Errors
/// What was there before is there still.
pub(super) fn replace(new: &Path, place: &Path, beside: &Beside) -> io::Result<Option<PathBuf>> {
    if beside.directory == place {
        return one_by_one(new, place, beside).map(Some);
    }
    loop {
        match durable::exchange(new, place).map_err(errno) {
            Ok(()) => return Ok(Some(new.to_owned())),
            Err(Errno::NOENT) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::XDEV) => {
                if let Some(result) = aside(new, place, beside)? {
                    return Ok(result);
                }
                continue;
            }
            Err(Errno::BUSY) => return one_by_one(new, place, beside).map(Some),
            Err(error) => return Err(error.into()),
        }
        match durable::rename(new, place).map_err(errno) {
            Ok(()) => return Ok(None),
            // Another build was faster, and its directory is replaced.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Moves what is at `place` aside and `new` in. Nothing if another build came in between.
fn aside(new: &Path, place: &Path, beside: &Beside) -> io::Result<Option<Option<PathBuf>>> {
    // It is locked wherever it goes: another build takes no part of it for what a power cut left.
    let place_lock = match lock(place) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        lock => lock.ok(),
    };
    let (old, _old_lock) = beside.old()?;
    let moved = match durable::rename(place, &old).map_err(errno) {
        Ok(()) => true,
        Err(Errno::NOENT) => false,
        Err(Errno::XDEV | Errno::BUSY) => {
            fs::remove_dir(&old)?;
            // It is taken there again.
            drop(place_lock);
            return one_by_one(new, place, beside).map(|old| Some(Some(old)));
        }
        Err(error) => {
            fs::remove_dir(&old)?;
            return Err(error.into());
        }
    };
    let result = match durable::rename(new, place).map_err(errno) {
        Ok(()) => Ok(Some(moved.then(|| old.clone()))),
        // Another build was faster: ours goes there next.
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            discard(&old, beside)?;
            return Ok(None);
        }
        Err(error) => Err(error.into()),
    };
    match (&result, moved) {
        (Ok(_), true) => {}
        (Err(_), true) => durable::rename(&old, place).map_err(|error| {
            io::Error::other(format!("what was there before is in `{}`: {error}", old.display()))
        })?,
        (_, false) => fs::remove_dir(&old)?,
    }
    result
}

/// Moves the files of the old build out of `place`, then those of the new one in. At any time the
/// report that is there, if one is, names all files that are there, so that the next build takes
/// over whatever a power cut leaves.
fn one_by_one(new: &Path, place: &Path, beside: &Beside) -> io::Result<PathBuf> {
    // Builds that end at once take turns: here they could mix.
    let _lock = lock(place)?;
    let names = |directory: &Path| match look(directory, beside) {
        Ok(names) => Ok(names.unwrap_or_default()),
        Err(in_the_way) => {
            Err(in_the_way.cause.unwrap_or_else(|| io::Error::other(in_the_way.what)))
        }
    };
    let (before, after): (Names, Names) = (names(place)?, names(new)?);
    let (old, _old_lock) = beside.old()?;
    let mut moved = Vec::new();
    let out = before.report_first().rev().map(|name| (place.join(name), old.join(name)));
    let into = after.report_first().map(|name| (new.join(name), place.join(name)));
    let all: Vec<_> = out.chain(into).collect();
    for (from, to) in all {
        match durable::rename(&from, &to) {
            Ok(()) => moved.push((from, to)),
            // A file of the old build that somebody has removed.
            Err(error) if error.kind() == ErrorKind::NotFound && !from.starts_with(new) => {}
            Err(error) => {
                for (from, to) in moved.iter().rev() {
                    durable::rename(to, from).map_err(|error| {
                        let stays = to.display();
                        io::Error::other(format!("`{stays}` cannot be moved back: {error}"))
                    })?;
                }
                fs::remove_dir(&old)?;
                return Err(error);
            }
        }
    }
    fs::remove_dir(new)?;
    Ok(old)
}

/// Removes an older build, or an empty directory, that is in nobody's way any more. If there is
/// anything in it that the build has not made, all of it is kept: returns where.
///
/// # Errors
/// If what is there can neither be removed nor kept under a name that people see.
pub(super) fn discard(old: &Path, beside: &Beside) -> io::Result<Option<PathBuf>> {
    let gone = match look(old, beside) {
        Ok(Some(names)) => names.remove(old),
        Ok(None) => Ok(()),
        Err(in_the_way) => Err(io::Error::other(in_the_way.what)),
    };
    if gone.is_ok() || !old.exists() {
        return Ok(None);
    }
    let kept = beside.kept()?;
    durable::rename(old, &kept)?;
    Ok(Some(kept))
}

/// Finds what a power cut left aside at `old`, which no build holds any more. If nothing is at
/// `place`, it goes back there; else it is an older build, or a part of one, and its files go.
/// Whatever no build made is left as it is.
pub(super) fn recover(old: &Path, place: &Path, beside: &Beside) -> io::Result<()> {
    let _lock = lock_if_free(old)?;
    match look(old, beside) {
        Ok(Some(names)) if names == Names::default() => fs::remove_dir(old),
        Ok(Some(_)) if !place.exists() => durable::rename(old, place),
        Ok(Some(names)) => names.remove(old),
        Ok(None) => Ok(()),
        // Files that were moved one by one, the report last: it is where they were.
        Err(_) => Names::written_by_us().remove_all_or_none(old),
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
