//! Huge pages: set aside as the node config says, before kubelet starts and counts them.
//!
//! The kernel gives as many as it finds in whole, free pieces and calls that success
//! (`Documentation/admin-guide/mm/hugetlbpage.rst`), so what it gave is read back.

use std::collections::BTreeMap;
use std::io;

use formats::node_config::PageSize;

use crate::assemble::memory;
use crate::root::Root;

const DIRECTORY: &str = "/sys/kernel/mm/hugepages";
/// The kernel's own files are short.
const LIMIT: u64 = 64 * 1024;
/// What the node itself needs, with its first pods: it must not be taken for pages that nothing
/// else can use.
const LEFT: u64 = 384 << 20;

/// Sets the pages aside; what could not be done is in the result, for the screen.
pub fn set_aside(pages: &BTreeMap<PageSize, u32>, root: &Root) -> Vec<String> {
    if pages.is_empty() {
        return Vec::new();
    }
    if let Some(problem) = too_many(pages, memory(root)) {
        return vec![problem];
    }
    // The largest first, while memory is in one piece.
    pages.iter().rev().filter_map(|(size, count)| one_size(*size, *count, root).err()).collect()
}

/// The kernel would give all but the last of the memory, and the node would be lost.
fn too_many(pages: &BTreeMap<PageSize, u32>, memory: Option<u64>) -> Option<String> {
    let wanted = pages.iter().fold(0_u64, |sum, (size, count)| {
        sum.saturating_add((size.kib() << 10).saturating_mul(u64::from(*count)))
    });
    let memory = memory?;
    (wanted > memory.saturating_sub(LEFT)).then(|| {
        format!(
            "no huge pages are set aside: those of `hugepages` are {} MiB of the {} MiB of memory, \
             and {} MiB must be left",
            wanted >> 20,
            memory >> 20,
            LEFT >> 20
        )
    })
}

fn one_size(size: PageSize, count: u32, root: &Root) -> Result<(), String> {
    let path = format!("{DIRECTORY}/hugepages-{}kB/nr_hugepages", size.kib());
    let failed = |error: io::Error| {
        format!("cannot set aside {count} huge pages of {size}: {path}: {error}")
    };
    if !root.path(&path).exists() {
        return Err(format!("this machine has no huge pages of {size}"));
    }
    // In place: it is the kernel's file.
    std::fs::write(root.path(&path), count.to_string()).map_err(failed)?;
    let text = root.read(&path, LIMIT).map_err(failed)?.unwrap_or_default();
    let given = String::from_utf8_lossy(&text).trim().parse::<u32>().unwrap_or(0);
    if given < count {
        return Err(format!(
            "only {given} of {count} huge pages of {size} are set aside: free memory is too little \
             or in pieces (the kernel's command line, `hugepagesz={} hugepages={count}`, comes first)",
            kernels_name(size)
        ));
    }
    Ok(())
}

/// As the kernel's command line wants it: `2M`.
fn kernels_name(size: PageSize) -> String {
    size.to_string().trim_end_matches('i').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    fn pages(text: &str) -> BTreeMap<PageSize, u32> {
        formats::node_config::parse(&format!("schema = 1\n[hugepages]\n{text}")).unwrap().hugepages
    }

    fn machine(memory_mib: u64) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let meminfo = format!("MemTotal: {} kB\n", memory_mib << 10);
        root.write("/proc/meminfo", meminfo.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        let two = format!("{DIRECTORY}/hugepages-2048kB/nr_hugepages");
        root.write(two, b"0\n", PUBLIC, Keep::ThisBoot).unwrap();
        (directory, root)
    }

    fn two_mib(root: &Root) -> String {
        std::fs::read_to_string(root.path(format!("{DIRECTORY}/hugepages-2048kB/nr_hugepages")))
            .unwrap()
    }

    #[test]
    fn pages_are_set_aside_and_a_size_that_there_is_not_is_told() {
        let (_directory, root) = machine(2048);
        assert_eq!(set_aside(&pages("2Mi = 64\n"), &root), [""; 0]);
        assert_eq!(two_mib(&root), "64");
        let problems = set_aside(&pages("2Mi = 8\n1Gi = 1\n"), &root);
        assert_eq!(problems, ["this machine has no huge pages of 1Gi"]);
        assert_eq!(two_mib(&root), "8");
    }

    #[test]
    fn more_than_the_memory_bears_is_not_tried() {
        let (_directory, root) = machine(1024);
        let want = "no huge pages are set aside: those of `hugepages` are 642 MiB of the 1024 MiB of \
                    memory, and 384 MiB must be left";
        assert_eq!(set_aside(&pages("2Mi = 321\n"), &root), [want]);
        assert_eq!(two_mib(&root), "0\n");
        assert_eq!(set_aside(&pages("2Mi = 320\n"), &root), [""; 0]);
        let all = pages("2Mi = 4294967295\n16Gi = 4294967295\n");
        assert!(set_aside(&all, &root)[0].starts_with("no huge pages are set aside"));
    }

    #[test]
    fn what_the_kernel_did_not_give_is_told() {
        let (_directory, root) = machine(2048);
        // A kernel that has no more: what is written is not what is read.
        let path = root.path(format!("{DIRECTORY}/hugepages-2048kB/nr_hugepages"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let problems = set_aside(&pages("2Mi = 64\n"), &root);
        let want = "only 0 of 64 huge pages of 2Mi are set aside: free memory is too little or in \
                    pieces (the kernel's command line, `hugepagesz=2M hugepages=64`, comes first)";
        assert_eq!(problems, [want]);
    }

    #[test]
    fn without_the_key_nothing_is_touched() {
        let (_directory, root) = machine(0);
        assert_eq!(set_aside(&BTreeMap::new(), &root), [""; 0]);
        assert_eq!(two_mib(&root), "0\n");
    }
}
