//! What is wrong, for the screen: few lines, for it has no room for many; the log has them all.

use std::io;
use std::path::Path;

use formats::system::PROBLEMS;

use crate::root::{Keep, PUBLIC, Root};

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

/// Leaves these for PID 1, which reads them when the unit of this name is done. What an earlier run
/// of the unit in this boot has told stays: a repair that was made is not made twice.
///
/// # Errors
/// What the file system says.
pub(crate) fn leave(root: &Root, unit: &str, problems: &[String]) -> io::Result<()> {
    let path = Path::new(PROBLEMS).join(unit);
    let told = root.read(&path, LIMIT)?.unwrap_or_default();
    let told = String::from_utf8_lossy(&told).into_owned();
    let mut all: Vec<String> = told.lines().map(str::to_owned).collect();
    for problem in problems {
        let line = problem.replace('\n', " ");
        if !all.contains(&line) {
            all.push(line);
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let text: String = shortened(all).into_iter().map(|line| line + "\n").collect();
    root.write(path, text.as_bytes(), PUBLIC, Keep::ThisBoot)
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
        leave(&root, "images", &[]).unwrap();
        assert_eq!(left(), None);
        leave(&root, "images", &["one\nline".to_owned(), "2".to_owned()]).unwrap();
        leave(&root, "images", &["2".to_owned(), "3".to_owned()]).unwrap();
        leave(&root, "images", &[]).unwrap();
        assert_eq!(left().unwrap(), b"one line\n2\n3\n");
    }
}
