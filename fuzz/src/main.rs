//! Runs one target. With `--cfg fuzzing` this is a program of libFuzzer, whose options it takes;
//! without, it changes the seeds at random: `one TARGET SECONDS`. `cargo xtask fuzz` calls it.
#![cfg_attr(fuzzing, no_main)]

/// The target that the environment names.
#[cfg(fuzzing)]
fn target() -> &'static fuzz::Target {
    static TARGET: std::sync::OnceLock<&fuzz::Target> = std::sync::OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("ORLOP_FUZZ_TARGET").unwrap_or_default();
        fuzz::find(&name).unwrap_or_else(|| panic!("`ORLOP_FUZZ_TARGET` is no target: `{name}`"))
    })
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (target().run)(bytes));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    match plain::run(std::env::args().skip(1)) {
        Ok(text) => {
            eprintln!("{text}");
            std::process::ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("error: {text}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(fuzzing))]
mod plain {
    use std::panic::catch_unwind;
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use fuzz::mutate::Numbers;

    /// An input that takes longer than this hangs.
    const LONGEST: Duration = Duration::from_secs(30);

    pub(super) fn run(mut words: impl Iterator<Item = String>) -> Result<String, String> {
        let usage = || "usage: one TARGET SECONDS, or one --seeds TARGET DIRECTORY".to_owned();
        let first = words.next().ok_or_else(usage)?;
        if first == "--list" {
            let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
            return Ok(names.join("\n"));
        }
        let named = |name: &str| fuzz::find(name).ok_or_else(|| format!("no target `{name}`"));
        if first == "--seeds" {
            let target = named(&words.next().ok_or_else(usage)?)?;
            return write_seeds(target, Path::new(&words.next().ok_or_else(usage)?));
        }
        let target = named(&first)?;
        let seconds = words.next().and_then(|word| word.parse().ok()).ok_or_else(usage)?;
        hunt(target, Duration::from_secs(seconds))
    }

    /// Gives another engine something to begin with.
    fn write_seeds(target: &fuzz::Target, directory: &Path) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("`{}`: {error}", directory.display());
        std::fs::create_dir_all(directory).map_err(failed)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed).map_err(failed)?;
        }
        Ok(format!("seeds of {} in {}", target.name, directory.display()))
    }

    fn hunt(target: &'static fuzz::Target, time: Duration) -> Result<String, String> {
        let (sender, inputs) = mpsc::sync_channel::<Option<Vec<u8>>>(0);
        let (done, results) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(Some(input)) = inputs.recv() {
                // Whoever hears nothing any more has given up on us.
                let _ = done.send(catch_unwind(|| (target.run)(&input)).is_ok());
            }
        });
        let seeds = (target.seeds)();
        let (start, mut count) = (Instant::now(), 0_u64);
        while start.elapsed() < time {
            let input = Numbers::new(count).change(&seeds);
            drop(sender.send(Some(input.clone())));
            match results.recv_timeout(LONGEST) {
                Ok(true) => count += 1,
                Ok(false) => return Err(keep(target, count, &input, "panics")),
                Err(_) => return Err(keep(target, count, &input, "takes too long")),
            }
        }
        Ok(format!("{}: {count} inputs, no panic", target.name))
    }

    fn keep(target: &fuzz::Target, number: u64, input: &[u8], what: &str) -> String {
        let directory = Path::new("fuzz/artifacts").join(target.name);
        let path = directory.join(format!("input-{number}"));
        let kept = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&path, input));
        match kept {
            Ok(()) => format!("{} {what}: the input is `{}`", target.name, path.display()),
            Err(error) => format!("{} {what} at input {number}, not kept: {error}", target.name),
        }
    }
}
