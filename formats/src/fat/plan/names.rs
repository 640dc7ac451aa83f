//! Names: what FAT can hold, and the short ones that follow from the long.

use super::super::directory::is_short_character;
use super::{Alias, FatError};

/// `LOADER~1.CON` for `LOADER.CONF` and 1.
pub(super) fn numbered(upper: &str, number: u32) -> Option<Alias> {
    let short = |text: &str, most: usize| -> String {
        let characters = text.chars().filter(|character| !matches!(character, ' ' | '.'));
        let known = |character: char| {
            u8::try_from(character).ok().filter(|byte| is_short_character(*byte)).map(char::from)
        };
        characters.map(|character| known(character).unwrap_or('_')).take(most).collect()
    };
    let tail = format!("~{number}");
    let upper = upper.trim_start_matches('.');
    let (base, extension) = upper.rsplit_once('.').unwrap_or((upper, ""));
    let (base, extension) = (short(base, 8 - tail.len()), short(extension, 3));
    let dot = if extension.is_empty() { "" } else { "." };
    Alias::new(&format!("{base}{tail}{dot}{extension}")).ok()
}

pub(super) fn label(text: &str) -> Result<[u8; 11], FatError> {
    let good = (1..=11).contains(&text.len())
        && text.bytes().all(|byte| is_short_character(byte) && byte != b'~');
    if !good {
        return Err(FatError::Label(text.to_owned()));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

pub(super) fn check_name(name: &str, path: &str) -> Result<(), FatError> {
    let bad = |character: char| character < ' ' || r#""*/:<>?\|"#.contains(character);
    let trimmed = name.trim_end_matches(['.', ' ']).trim_start_matches(' ');
    if name.is_empty()
        || trimmed.len() != name.len()
        || name.encode_utf16().count() > 255
        || name.contains(bad)
        || name.contains('\u{7f}')
    {
        return Err(FatError::Path(path.to_owned()));
    }
    Ok(())
}
