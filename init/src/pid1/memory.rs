//! How much memory is in use, told once a boot beside the marks.

use std::path::Path;

/// KiB in use now; `None` if the kernel does not say. `file` is `/proc/meminfo`.
pub fn used(file: &Path) -> Option<u64> {
    parse(&std::fs::read_to_string(file).ok()?)
}

/// All memory but what is free and what the kernel gives back when it is asked for: buffers, cached
/// files and reclaimable slabs. Files in a tmpfs count among the cached (`Shmem`) and are in use.
/// Format: Documentation/filesystems/proc.rst.
fn parse(meminfo: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let cached = field("Cached")?.checked_sub(field("Shmem")?)?;
    let spare = [field("MemFree")?, field("Buffers")?, cached, field("SReclaimable")?];
    spare.into_iter().try_fold(field("MemTotal")?, u64::checked_sub)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        2015116 kB\nMemFree:         1700000 kB\n\
        MemAvailable:    1800000 kB\nBuffers:            1000 kB\nCached:           200000 kB\n\
        SwapCached:            0 kB\nShmem:              3000 kB\nSReclaimable:       7116 kB\n\
        HugePages_Total:       0\n";

    #[test]
    fn memory_in_use_is_what_nobody_gives_back() {
        assert_eq!(parse(MEMINFO), Some(2_015_116 - 1_700_000 - 1000 - 197_000 - 7116));
    }

    #[test]
    fn what_is_no_account_of_memory_is_none() {
        for text in
            ["", "MemTotal: 1 kB\n", "MemTotal: much\n", &MEMINFO.replace("1700000", "9999999")]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", number: u64) {
            let _ = parse(&text);
            let _ = parse(&MEMINFO.replace("200000", &number.to_string()));
        }
    }
}
