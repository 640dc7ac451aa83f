//! The conditions of the two builds: what must shape no byte, as far apart as this host can have
//! it. [`choose`] is a pure function of what the host has, and a plan that is printed before
//! anything is built.

use serde::Serialize;

/// How far the clock of the second build is ahead: more than a year, not by whole days.
pub(super) const CLOCK: &str = "+400d";

/// The time zone of the second build, in the form that needs no data of zones (POSIX, `TZ`): three
/// quarters of an hour off, as no zone of the first build is likely to be.
const ZONE: &str = "XYZ-12:45";
/// The user of the second build, if the first is root: `nobody` of Debian. The account need not be.
pub(super) const NOBODY: u32 = 65534;
/// When all sources of the second build were changed: 9 September 2001.
pub(super) const CHANGED: u64 = 1_000_000_000;

/// What the host has and is, as far as conditions depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// The umask of this process.
    pub umask: u32,
    /// The time zone and the language that the environment names.
    pub zone: Option<String>,
    /// As above.
    pub locale: Option<String>,
    /// The locales that are there, as `locale -a` lists them.
    pub locales: Vec<String>,
    /// The processors that this process may use.
    pub processors: Vec<usize>,
    /// Whether `faketime` shifts the clock of what it starts, or why not.
    pub faketime: Result<(), String>,
    /// Whether it shifts that of this program: not if no library can be put before it.
    pub own_clock: bool,
    /// Whether `taskset` is there.
    pub taskset: bool,
    /// Whether another user can be had who can use what a build needs, or why not.
    pub other_user: Result<(), String>,
    /// Whether the sources can be copied elsewhere for the second build, or why not.
    pub copied: Result<(), String>,
}

/// The conditions of a build that differ from those of whoever starts it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Conditions {
    /// How far the clock is off, as `faketime` takes it.
    pub clock: Option<&'static str>,
    /// The umask.
    pub umask: u32,
    /// `LC_ALL`.
    pub locale: String,
    /// `TZ`.
    pub zone: String,
    /// The user and group to build as.
    pub user: Option<u32>,
    /// How many things are done at once.
    pub jobs: usize,
    /// The processors it may use, as `taskset -c` takes them; all of them if there is none.
    pub processors: Option<String>,
    /// Whether the sources are those of the copy.
    pub copy: bool,
}

/// What is not the same for both builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Varied {
    /// What it is.
    pub condition: String,
    /// How the first build has it.
    pub one: String,
    /// How the second has it.
    pub two: String,
}

/// What is the same for both builds, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// What it is.
    pub condition: String,
    /// Why it is not varied.
    pub because: String,
}

/// The conditions of two builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    /// Those of the second build. The first has those of whoever starts it.
    pub second: Conditions,
    /// What differs.
    pub varied: Vec<Varied>,
    /// What could not be made to differ.
    pub kept: Vec<Kept>,
}

/// Chooses conditions that differ as much as this host allows.
pub(super) fn choose(host: &Host) -> Choice {
    let (mut varied, mut kept) = (Vec::new(), Vec::new());
    let mut vary = |condition: &str, one: String, two: String| {
        varied.push(Varied { condition: condition.into(), one, two });
    };
    let mut keep = |condition: &str, because: &str| {
        kept.push(Kept { condition: condition.into(), because: because.into() });
    };
    let clock = host.faketime.is_ok().then_some(CLOCK);
    match (&host.faketime, host.own_clock) {
        (Ok(()), true) => {
            vary("clock of orlop, cargo and what that starts", "this host's".into(), CLOCK.into());
        }
        (Ok(()), false) => {
            vary("clock of cargo and what that starts", "this host's".into(), CLOCK.into());
            keep("clock of orlop", "it is linked statically, where `faketime` is not heard");
        }
        (Err(why), _) => keep("clock", why),
    }
    if clock.is_some() {
        keep("clock of Go's compiler", "it asks the kernel itself, where `faketime` is not heard");
    }
    keep("host name, kernel, file system", "both builds are made on this host");
    let umask = if host.umask == 0o077 { 0o022 } else { 0o077 };
    vary("umask", format!("{:04o}", host.umask), format!("{umask:04o}"));
    let locale = other_locale(host);
    vary("locale", host.locale.clone().unwrap_or_else(|| "C".into()), locale.clone());
    vary("time zone", host.zone.clone().unwrap_or_else(|| "that of the host".into()), ZONE.into());
    vary("output, HOME, TMPDIR, store and caches", "a directory".into(), "another one".into());
    let copy = host.copied.is_ok();
    match &host.copied {
        Ok(()) => {
            vary(
                "sources",
                "where they are".into(),
                "a copy elsewhere, all changed in 2001".into(),
            );
        }
        Err(why) => keep("directory of the sources", why),
    }
    vary(
        "environment",
        "all variables of whoever starts it".into(),
        "few others, in another order".into(),
    );
    let user = match &host.other_user {
        Ok(()) => {
            vary("user", "root".into(), NOBODY.to_string());
            Some(NOBODY)
        }
        Err(why) => {
            keep("user", why);
            None
        }
    };
    let count = host.processors.len().max(1);
    vary("jobs", count.to_string(), (count + 1).to_string());
    let half = &host.processors[..count.div_ceil(2).min(host.processors.len())];
    let processors = match (host.taskset, count) {
        (true, 2..) => {
            vary("processors", count.to_string(), half.len().to_string());
            Some(half.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        (true, _) => {
            keep("processors", "there is one");
            None
        }
        (false, _) => {
            keep("processors", "`taskset` is not on this host");
            None
        }
    };
    let zone = ZONE.to_owned();
    let second = Conditions { clock, umask, locale, zone, user, jobs: count + 1, processors, copy };
    Choice { second, varied, kept }
}

/// A language that is there and is another one, as far from English as there is; programs that are
/// told of one that is not there have none.
fn other_locale(host: &Host) -> String {
    let current = host.locale.as_deref().unwrap_or("C");
    let foreign = |name: &&String| {
        let own = current.split(['.', '_']).next().unwrap_or_default();
        !name.starts_with('C') && *name != "POSIX" && !name.starts_with(own)
    };
    // Turkish has other rules for the letter I, which catches who changes cases by language.
    let turkish = host.locales.iter().find(|name| name.starts_with("tr_"));
    let found = turkish.filter(foreign).or_else(|| host.locales.iter().find(foreign));
    found.cloned().unwrap_or_else(|| if current == "C.UTF-8" { "C" } else { "C.UTF-8" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(choice: &Choice) -> (Vec<&str>, Vec<&str>) {
        let varied = choice.varied.iter().map(|one| one.condition.as_str()).collect();
        (varied, choice.kept.iter().map(|one| one.condition.as_str()).collect())
    }

    #[test]
    fn a_host_that_has_all_varies_all() {
        let host = Host {
            umask: 0o022,
            zone: Some("Europe/Berlin".into()),
            locale: Some("en_GB.UTF-8".into()),
            locales: ["C", "C.utf8", "POSIX", "de_DE.utf8", "tr_TR.utf8"].map(str::to_owned).into(),
            processors: vec![0, 2, 4],
            faketime: Ok(()),
            own_clock: true,
            taskset: true,
            other_user: Ok(()),
            copied: Ok(()),
        };
        let choice = choose(&host);
        let (varied, kept) = names(&choice);
        assert_eq!(kept, ["clock of Go's compiler", "host name, kernel, file system"]);
        assert_eq!(varied.len(), 10, "{varied:?}");
        for Varied { condition, one, two } in &choice.varied {
            assert_ne!(one, two, "{condition}");
        }
        let want = Conditions {
            clock: Some(CLOCK),
            umask: 0o077,
            locale: "tr_TR.utf8".into(),
            zone: ZONE.into(),
            user: Some(NOBODY),
            jobs: 4,
            processors: Some("0,2".into()),
            copy: true,
        };
        assert_eq!(choice.second, want);
        let choice = choose(&Host { own_clock: false, ..host });
        let (varied, kept) = names(&choice);
        assert_eq!((varied[0], kept[0]), ("clock of cargo and what that starts", "clock of orlop"));
    }

    #[test]
    fn what_a_host_lacks_is_kept_and_said_with_the_reason() {
        let host = Host {
            umask: 0o077,
            processors: vec![3],
            taskset: true,
            other_user: Err("whoever builds is not root".into()),
            copied: Err("they are the whole host".into()),
            zone: None,
            locale: None,
            locales: Vec::new(),
            faketime: Err("`faketime` is not on this host".into()),
            own_clock: true,
        };
        let choice = choose(&host);
        let (_, kept) = names(&choice);
        let host_itself = "host name, kernel, file system";
        let want = ["clock", host_itself, "directory of the sources", "user", "processors"];
        assert_eq!(kept, want);
        assert_eq!((choice.second.umask, choice.second.jobs), (0o022, 2));
        assert_eq!((choice.second.locale.as_str(), choice.second.processors), ("C.UTF-8", None));
        let host = Host { locale: Some("C.UTF-8".into()), ..host };
        assert_eq!(choose(&host).second.locale, "C");
    }
}
