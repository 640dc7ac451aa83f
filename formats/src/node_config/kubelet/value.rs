//! Values of kubelet's fields against their types, each problem noted where it stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::Type;
use crate::near::near;
use crate::node_config::section::{Section, suggestion};
use crate::quote;

/// Notes what is wrong with the value at `path`, a key from the top of the configuration.
pub(super) fn check(
    section: &mut Section<'_, '_>,
    path: &str,
    value: &Spanned<DeValue<'_>>,
    wanted: &Type,
) {
    match (wanted, value.get_ref()) {
        (Type::Choice(choices), DeValue::String(text)) => {
            if !choices.contains(&text.as_ref()) {
                let message = format!("`{text}` is not a value of `{path}`");
                let hint = suggestion(text, choices, "its values are");
                section.notes.note(value.span(), message).hint = Some(hint);
            }
        }
        (Type::List(kind), DeValue::Array(items)) => {
            items.iter().for_each(|item| check(section, path, item, kind));
        }
        (Type::Map(kind), DeValue::Table(table)) => {
            for (key, value) in table {
                check(section, &inner(path, key.get_ref()), value, kind);
            }
        }
        (Type::Keys(keys, kind), DeValue::Table(table)) => {
            for (key, value) in table {
                let word = key.get_ref().as_ref();
                if keys.contains(&word) {
                    check(section, &inner(path, word), value, kind);
                } else {
                    let message = format!("`{word}` is not a key of `{path}`");
                    section.notes.note(key.span(), message).hint =
                        Some(suggestion(word, keys, "its keys are"));
                }
            }
        }
        (Type::Table(fields), DeValue::Table(table)) => check_fields(section, path, table, fields),
        (Type::Either(one, other), found) => {
            // The problem told is that of the kind that comes nearest: the first, unless the other
            // one takes the value.
            if !fits(other, found) {
                check(section, path, value, one);
            }
        }
        (wanted, found) if fits(wanted, found) => {}
        (wanted, DeValue::String(text)) => {
            let message = format!("`{path}` must be {}, not \"{text}\"", wanted.in_words());
            section.notes.note(value.span(), message);
        }
        (wanted, _) => section.mismatch(path, value, &wanted.in_words()),
    }
}

/// Notes what is wrong in a table of fields. Fields that nobody knows pass, for a later kubelet may
/// know them, unless they look like a slip.
pub(super) fn check_fields(
    section: &mut Section<'_, '_>,
    path: &str,
    table: &DeTable<'_>,
    fields: &[(&'static str, Type)],
) {
    for (key, value) in table {
        let word = key.get_ref().as_ref();
        match fields.iter().find(|(name, _)| *name == word) {
            Some((_, kind)) => check(section, &inner(path, word), value, kind),
            None => {
                if let Some(meant) = meant(word, fields.iter().map(|(name, _)| *name)) {
                    let message = format!("`{word}` is not a key that kubelet knows");
                    section.notes.note(key.span(), message).hint =
                        Some(format!("did you mean `{meant}`?"));
                }
            }
        }
    }
}

/// The field that was probably meant; `max-pods` and `max_pods` are `maxPods`.
pub(super) fn meant<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let same = known.clone().find(|known| plain(known) == plain(word));
    same.or_else(|| near(word, known))
}

fn inner(path: &str, key: &str) -> String {
    format!("{path}.{}", quote::key(key))
}

/// Whether a value that is neither a list nor a table, nor one of a few words, is of this type.
fn fits(wanted: &Type, value: &DeValue<'_>) -> bool {
    match (wanted, value) {
        (Type::Boolean, DeValue::Boolean(_)) | (Type::Text, DeValue::String(_)) => true,
        (Type::Integer(least, most), DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix())
                .is_ok_and(|number| (*least..=*most).contains(&number))
        }
        (Type::Fraction, DeValue::Float(number)) => {
            number.as_str().parse::<f64>().is_ok_and(|number| number > 0.0 && number <= 1.0)
        }
        (Type::Fraction, DeValue::Integer(number)) => number.as_str() == "1",
        (Type::Address, DeValue::String(text)) => {
            text.is_empty() || text.parse::<std::net::IpAddr>().is_ok()
        }
        (Type::Duration(least, most), DeValue::String(text)) => {
            duration(text).is_some_and(|time| time == 0 || is_within(*least, *most, time))
        }
        (Type::Within(least, most), DeValue::String(text)) => {
            duration(text).is_some_and(|time| is_within(*least, *most, time))
        }
        (Type::Quantity, DeValue::String(text)) => is_quantity(text),
        (Type::Threshold, DeValue::String(text)) => match text.strip_suffix('%') {
            Some(number) => {
                is_decimal(number) && number.parse().is_ok_and(|part: f64| part <= 100.0)
            }
            None => is_quantity(text),
        },
        (Type::Cpus, DeValue::String(text)) => text.is_empty() || text.split(',').all(is_cpu_range),
        _ => false,
    }
}

impl Type {
    /// What of JSON it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Integer(..) => "a whole number",
            Self::Fraction => "a number",
            Self::Text
            | Self::Choice(_)
            | Self::Address
            | Self::Duration(..)
            | Self::Within(..)
            | Self::Quantity
            | Self::Threshold
            | Self::Cpus => "a string",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Keys(..) | Self::Table(_) => "a table",
            Self::Either(one, _) => one.kind(),
        }
    }

    /// What a person would call it, after "must be".
    fn in_words(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Integer(least, i64::MAX) => format!("a whole number from {least}"),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Fraction => "a number above 0 and at most 1".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Address => "an IP address in quotes".to_owned(),
            Self::Duration(0, most) if *most > 1_000_000_000 => {
                "a duration in quotes, such as \"1m30s\"".to_owned()
            }
            Self::Duration(least, most) if *most > 1_000_000_000 && *least > 0 => {
                format!("a duration in quotes of at least {}", milliseconds(*least))
            }
            Self::Duration(_, most) if *most > 1_000_000_000 => {
                "a duration in quotes, such as \"1m30s\" or \"-1s\"".to_owned()
            }
            Self::Duration(least, most) | Self::Within(least, most) => format!(
                "a duration in quotes from {} to {}",
                milliseconds(*least),
                milliseconds(*most)
            ),
            Self::Quantity => "an amount in quotes, such as \"500m\" or \"1Gi\"".to_owned(),
            Self::Threshold => "an amount in quotes, such as \"1Gi\" or \"10%\"".to_owned(),
            Self::Cpus => "numbers of processors in quotes, such as \"0-3,8\"".to_owned(),
            Self::List(kind) => match kind {
                Self::Text | Self::Choice(_) | Self::Address => "a list of strings".to_owned(),
                _ => "a list".to_owned(),
            },
            Self::Map(_) | Self::Keys(..) | Self::Table(_) => "a table".to_owned(),
            Self::Either(one, _) => one.in_words(),
        }
    }
}

/// Whether so many nanoseconds are in a range of milliseconds.
fn is_within(least: i64, most: i64, nanoseconds: i128) -> bool {
    (i128::from(least) * 1_000_000..=i128::from(most) * 1_000_000).contains(&nanoseconds)
}

fn milliseconds(number: i64) -> String {
    if number % 1000 == 0 { format!("\"{}s\"", number / 1000) } else { format!("\"{number}ms\"") }
}

/// Nanoseconds of a duration as Go's `time.ParseDuration` reads it: numbers with units, a sign
/// before all of them, or `0`.
pub(super) fn duration(text: &str) -> Option<i128> {
    const UNITS: &[(&str, i128)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("\u{3bc}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number =
            rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        if !is_decimal(digits) {
            return None;
        }
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*scale)?)?;
        let mut place = *scale;
        for digit in fraction.bytes() {
            place /= 10;
            total += i128::from(digit - b'0') * place;
        }
        rest = after;
    }
    (total <= i128::from(i64::MAX)).then_some(sign * total)
}

/// `12`, `1.5`, `.5`, `5.`.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

/// An amount that is not negative, as `resource.ParseQuantity` of apimachinery reads it.
pub(in crate::node_config) fn is_quantity(text: &str) -> bool {
    const SUFFIXES: &[&str] =
        &["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let text = text.strip_prefix('+').unwrap_or(text);
    let number =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, suffix) = text.split_at(number);
    let exponent = |suffix: &str| {
        let digits = suffix.strip_prefix(['e', 'E'])?;
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
    };
    is_decimal(number) && (SUFFIXES.contains(&suffix) || exponent(suffix).is_some())
}

/// `3` or `0-3`.
fn is_cpu_range(text: &str) -> bool {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u32>().ok() } else { None }
    };
    match text.split_once('-') {
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
        None => number(text).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("10s", Some(10_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("5.s", Some(5_000_000_000)),
            ("-1s", Some(-1_000_000_000)),
            ("+1ms", Some(1_000_000)),
            ("1\u{b5}s", Some(1_000)),
            ("", None),
            ("-", None),
            ("10", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1 s", None),
            ("1..5s", None),
            ("s1", None),
            ("9999999999h", None),
        ] {
            assert_eq!(duration(text), want, "{text:?}");
        }
    }

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for text in ["0", "100m", "1.5Gi", "1e3", "1E6", "12E", "5.", "+1", "1e-3", "3Ki"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", "m", "1 Gi", "1gb", "1GB", "-1", "1K", "1e", "0x10", "1.2.3", "."] {
            assert!(!is_quantity(text), "{text}");
        }
        for (text, good) in [
            ("0", true),
            ("0-3,8", true),
            ("3-0", false),
            ("0,", false),
            ("a", false),
            ("-1", false),
        ] {
            assert_eq!(text.split(',').all(is_cpu_range), good, "{text}");
        }
    }
}
