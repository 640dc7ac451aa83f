//! What is wrong, for the screen: few lines, for it has no room for many; the log has them all.

use std::io;
use std::path::Path;

use formats::system::PROBLEMS;

use crate::root::{Keep, PUBLIC, Root};

/// What earlier runs of a unit have told and what stays so, all of it, by the unit's name.
const NEWS: &str = "/run/orlop/news";
const MOST: usize = 16;
/// More than that many lines have.
const LIMIT: u64 = 1024 * 1024;

/// As many as the screen has room for.
pub(crate) fn shortened(mut problems: Vec<String>) -> Vec<String> {
    if problems.len() > MOST {
        let more = problems.len() - (MOST - 1);
        problems.truncate(MOST - 1);
        problems.push(format!("and {more} more: see the log"));
    }
    problems
}

/// Leaves these for PID 1, which reads them when the unit of this name is done. `news` of an earlier
/// run of the unit in this boot stay: a repair that was made is not made twice. Of its `troubles`
/// those stay that this run has again.
///
/// # Errors
/// What the file system says.
pub(crate) fn leave(
    root: &Root,
    unit: &str,
    news: &[String],
    troubles: &[String],
) -> io::Result<()> {
    let kept = Path::new(NEWS).join(unit);
    let told = root.read(&kept, LIMIT)?.unwrap_or_default();
    let told = String::from_utf8_lossy(&told).into_owned();
    let mut all: Vec<String> = told.lines().map(str::to_owned).collect();
    let before = all.len();
    add(&mut all, news);
    if all.len() > before {
        root.write(kept, text(&all).as_bytes(), PUBLIC, Keep::ThisBoot)?;
    }
    add(&mut all, troubles);
    let path = Path::new(PROBLEMS).join(unit);
    if all.is_empty() {
        return root.remove(path);
    }
    root.write(path, text(&shortened(all)).as_bytes(), PUBLIC, Keep::ThisBoot)
}

/// Each once.
fn add(all: &mut Vec<String>, lines: &[String]) {
    for line in lines {
        let line = line.replace('\n', " ");
        if !all.contains(&line) {
            all.push(line);
        }
    }
}

fn text(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<String> {
        (1..=count).map(|number| number.to_string()).collect()
    }

    #[test]
    fn many_problems_are_counted_instead_of_shown() {
        assert_eq!(shortened(numbers(16)), numbers(16));
        let short = shortened(numbers(18));
        assert_eq!(short.len(), 16);
        assert_eq!(short[14..], ["15", "and 3 more: see the log"]);
    }

    #[test]
    fn what_was_left_for_pid_1_stays_when_the_unit_runs_again() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let left = || root.read("/run/orlop/problems/images", LIMIT).unwrap();
        let text = |lines: &[&str]| -> Vec<String> {
            lines.iter().map(|line| (*line).to_owned()).collect()
        };
        leave(&root, "images", &[], &[]).unwrap();
        assert_eq!(left(), None);
        leave(&root, "images", &text(&["one\nline", "2"]), &[]).unwrap();
        leave(&root, "images", &text(&["2", "3"]), &[]).unwrap();
        leave(&root, "images", &[], &[]).unwrap();
        assert_eq!(left().unwrap(), b"one line\n2\n3\n");
        // What a later run has made good is no trouble any more.
        leave(&root, "images", &[], &text(&["cannot", "cannot either"])).unwrap();
        leave(&root, "images", &[], &text(&["cannot either"])).unwrap();
        assert_eq!(left().unwrap(), b"one line\n2\n3\ncannot either\n");
    }

    #[test]
    fn troubles_that_are_over_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        leave(&root, "images", &[], &numbers(2)).unwrap();
        leave(&root, "images", &[], &[]).unwrap();
        assert_eq!(root.read("/run/orlop/problems/images", LIMIT).unwrap(), None);
    }

    #[test]
    fn those_that_are_not_shown_are_counted_over_all_runs() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for count in [18, 20, 20] {
            leave(&root, "images", &numbers(count), &numbers(21)).unwrap();
        }
        let left = root.read("/run/orlop/problems/images", LIMIT).unwrap().unwrap();
        let left = String::from_utf8(left).unwrap();
        assert_eq!(left.lines().count(), 16);
        assert!(left.ends_with("15\nand 6 more: see the log\n"), "{left}");
    }
}
