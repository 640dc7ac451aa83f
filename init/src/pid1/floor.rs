//! The image's own time: no clock is right that says an earlier one. The builder writes the date of
//! the newest Debian release file of the lock, so the same lock gives the same file.

use std::path::Path;

use formats::moment::Moment;

use crate::sys::adjust;
use crate::{log, time};

/// Sets the clock to the time in `file` if it says an earlier one; gives what people should know
/// then. An image without the file has no floor.
pub fn raise(file: &Path) -> Option<String> {
    let floor = time::floor(file)?;
    let now = time::now();
    let (by, text) = correction(now, floor)?;
    match adjust::step(by) {
        Ok(()) => {
            log::warn(&text);
            Some(text)
        }
        Err(error) => Some(format!("{text}, which failed: {error}")),
    }
}

/// By how many nanoseconds to change the clock, and the reason.
fn correction(now: i128, floor: i64) -> Option<(i128, String)> {
    let by = i128::from(floor) * 1_000_000_000 - now;
    let said = i64::try_from(now.div_euclid(1_000_000_000)).ok()?;
    let text = || {
        format!(
            "the clock said {}, before this system was made: set to {}",
            Moment::at(said),
            Moment::at(floor)
        )
    };
    (by > 0).then(|| (by, text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_before_the_floor_is_set() {
        let floor = 1_795_054_374;
        assert_eq!(correction(i128::from(floor) * 1_000_000_000, floor), None);
        let (by, text) = correction(1_000_000_000, floor).unwrap();
        assert_eq!(by, (i128::from(floor) - 1) * 1_000_000_000);
        assert_eq!(
            text,
            "the clock said 1970-01-01 00:00:01 UTC, before this system was made: set to \
             2026-11-19 02:12:54 UTC"
        );
    }

    #[test]
    fn an_image_without_a_floor_leaves_the_clock_alone() {
        assert_eq!(raise(Path::new("/nonexistent")), None);
    }
}
