//! Paths as a recipe writes them.

use std::path::{Component, Path, PathBuf};

/// The path without `.` and `..`. What comes before a `..` must not be a link.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(normal.components().next_back(), Some(Component::Normal(_))) =>
            {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_up_only_where_it_can() {
        for (path, want) in [
            ("a/b/../c", "a/c"),
            ("./a/./b", "a/b"),
            ("../../a", "../../a"),
            ("a/../../b", "../b"),
            ("/../a", "/../a"),
        ] {
            assert_eq!(normal(Path::new(path)), Path::new(want));
        }
    }
}
