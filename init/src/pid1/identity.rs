//! Who the machine is: its id, which is kept on STATE, and the system that runs on it.

use std::io;
use std::path::Path;

use crate::sys::replace;

/// Name and version out of `etc/os-release` or `usr/lib/os-release` below `root`: its
/// `PRETTY_NAME`, else `NAME` and `VERSION_ID` (os-release(5)).
pub fn system(root: &Path) -> String {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(root.join(path)).ok())
        .unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        let quotes = |c| c == '"' || c == '\'';
        Some(line.trim().trim_matches(quotes).to_owned()).filter(|value| !value.is_empty())
    };
    value("PRETTY_NAME").unwrap_or_else(|| {
        let name = value("NAME").unwrap_or_else(|| "OrlopOS".to_owned());
        value("VERSION_ID").map(|version| format!("{name} {version}")).unwrap_or(name)
    })
}

/// Puts the machine's id into `etc/machine-id`: the one kept in `state`, or, on the first boot,
/// a new one which is kept there. Its form is machine-id(5)'s: 32 digits of a random UUID.
///
/// # Errors
/// What the file system says.
pub fn machine_id(state: &Path, etc: &Path, new_uuid: &Path) -> io::Result<()> {
    let kept = state.join("machine-id");
    let id = match std::fs::read_to_string(&kept) {
        Ok(id) if is_machine_id(id.trim_end()) => id.trim_end().to_owned(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // There is none, or power was lost before it was whole.
        _ => {
            let id = std::fs::read_to_string(new_uuid)?.trim().replace('-', "");
            if !is_machine_id(&id) {
                return Err(io::Error::other(format!("{} is no UUID", new_uuid.display())));
            }
            std::fs::create_dir_all(state)?;
            replace(&kept, format!("{id}\n").as_bytes())?;
            id
        }
    };
    replace(&etc.join("machine-id"), format!("{id}\n").as_bytes())
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && text.bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_name_comes_from_os_release() {
        for (text, want) in [
            ("NAME=\"OrlopOS\"\nPRETTY_NAME=\"OrlopOS 1.2 (worker)\"\n", "OrlopOS 1.2 (worker)"),
            ("NAME='X'\nVERSION_ID=3\n", "X 3"),
            ("PRETTY_NAME=\n", "OrlopOS"),
        ] {
            let root = tempfile::tempdir().expect("a directory");
            std::fs::create_dir_all(root.path().join("usr/lib")).expect("made");
            std::fs::write(root.path().join("usr/lib/os-release"), text).expect("written");
            assert_eq!(system(root.path()), want);
        }
        assert_eq!(system(Path::new("/nonexistent")), "OrlopOS");
    }

    #[test]
    fn a_machine_id_is_made_once_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let (state, etc) = (directory.path().join("var/lib/orlop"), directory.path().join("etc"));
        std::fs::create_dir(&etc).expect("made");
        let uuid = directory.path().join("uuid");
        let boot = |new: &str| {
            std::fs::write(&uuid, new).expect("written");
            machine_id(&state, &etc, &uuid).expect("made");
            std::fs::read_to_string(etc.join("machine-id")).expect("readable")
        };
        let first = boot("6f1e4b1c-0a5c-4d0e-9f0a-3b2a1c0d9e8f\n");
        assert_eq!(first, "6f1e4b1c0a5c4d0e9f0a3b2a1c0d9e8f\n");
        assert_eq!(boot("00000000-1111-2222-3333-444444444444\n"), first);
        // Half of one is none.
        std::fs::write(state.join("machine-id"), &first[..20]).expect("written");
        assert_eq!(
            boot("00000000-1111-2222-3333-444444444444\n"),
            "00000000111122223333444444444444\n"
        );
    }
}
