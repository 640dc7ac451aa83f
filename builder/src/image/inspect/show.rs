//! What was found, for people: short lines, columns that align, the heaviest first.

use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};

use formats::moment::Moment;

use super::root::RootSummary;
use super::summary::{BuildSummary, DiskSummary, FileSystem, SectionSummary, Summary, UkiSummary};
use crate::image::disk::mib;

/// Where a line of a command line ends. Longer words stand alone.
const WIDTH: usize = 96;

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(disk) => disk.fmt(f),
            Self::Root(root) => root.fmt(f),
            Self::Uki(uki) => uki.fmt(f),
            Self::Build(build) => build.fmt(f),
        }
    }
}

impl Display for DiskSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "disk image, {}", mib(self.size))?;
        line(f, "GUID", &self.guid)?;

        writeln!(
            f,
            "\n{:<9} {:>9} {:>10}  {:<36}  content",
            "partition", "at", "size", "PARTUUID"
        )?;
        for part in &self.partitions {
            let (at, size) = (mib(part.offset), mib(part.size));
            let (name, guid, content) = (&part.name, &part.guid, &part.content);
            writeln!(f, "  {name:<7} {at:>9} {size:>10}  {guid}  {content}")?;
        }
        // Both slots of a new disk hold one image: it is shown once.
        let mut shown: Vec<(&RootSummary, Vec<&str>)> = Vec::new();
        for part in &self.partitions {
            let FileSystem::Erofs(root) = &part.content else { continue };
            match shown.iter_mut().find(|(other, _)| *other == root) {
                Some((_, names)) => names.push(&part.name),
                None => shown.push((root, vec![&part.name])),
            }
        }
        for (root, names) in shown {
            writeln!(f, "\nroot image in {}", names.join(" and "))?;
            root.show(f)?;
        }
        writeln!(f, "\nfiles of the EFI system partition `{}`", self.esp_label)?;
        for file in &self.esp_files {
            let pieces = if file.contiguous { "" } else { "  in several pieces" };
            writeln!(f, "  {:>10}  {}{pieces}", column(file.size), file.path)?;
        }
        for (path, uki) in &self.entries {
            writeln!(f, "\nboot entry {path}")?;
            match uki {
                Some(uki) => uki.show(f)?,
                None => writeln!(f, "  no UKI: an update is under way, or it is damaged")?,
            }
        }
        Ok(())
    }
}

impl Display for FileSystem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros"),
            Self::Fat32 => f.write_str("FAT32"),
            Self::Erofs(root) => write!(f, "EROFS `{}`", root.volume),
            Self::Damaged { reason } => write!(f, "damaged: {reason}"),
            Self::Ext4 { label, size } => write!(f, "ext4 `{label}`, {}", mib(*size)),
            Self::Data => f.write_str("other data"),
        }
    }
}

impl Display for RootSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "root image, {}", column(self.data_size + self.tree_size))?;
        self.show(f)
    }
}

impl RootSummary {
    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "volume", &self.volume)?;
        line(f, "UUID", &self.uuid)?;
        line(f, "build time", Moment::since_1970(self.build_time))?;
        line(f, "EROFS", format_args!("{} in {} inodes", column(self.data_size), self.inodes))?;
        match &self.root_hash {
            Some(hash) => {
                line(f, "hash tree", format_args!("{}, not checked", column(self.tree_size)))?;
                line(f, "root hash", hash.0)
            }
            None => line(f, "hash tree", "none"),
        }
    }
}

impl Display for UkiSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "unified kernel image, {}", column(self.size))?;
        self.show(f)?;
        writeln!(f, "\nsections")?;
        for SectionSummary { name, size } in &self.sections {
            writeln!(f, "  {:>10}  {name}", column((*size).into()))?;
        }
        writeln!(f, "\nos-release")?;
        for (key, value) in &self.os_release {
            writeln!(f, "  {key}={value}")?;
        }
        Ok(())
    }
}

impl UkiSummary {
    fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let unknown = "unknown";
        if let Some(name) = self.os_release.get("PRETTY_NAME") {
            line(f, "system", name)?;
        }
        if let Some(slot) = self.slot {
            line(f, "slot", slot)?;
        }
        line(f, "kernel", self.kernel.as_deref().unwrap_or(unknown))?;
        line(f, "signature", if self.signed { "there, not checked" } else { "none" })?;
        command_line(f, "command line", self.command_line.as_deref().unwrap_or(unknown))
    }
}

impl Display for BuildSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        writeln!(f, "build of `{}`, version {}", report.image, report.version)?;
        line(f, "kernel", &report.kernel)?;
        let root = &report.root;
        let (data, tree) = (root.data_size, root.size.saturating_sub(root.data_size));
        let parts = format!("EROFS {}, hash tree {}", column(data), column(tree));
        line(f, "root", format_args!("{} in {} paths ({parts})", column(root.size), root.paths))?;
        line(f, "root hash", root.hash.0)?;
        line(f, "salt", &root.salt)?;
        line(f, "UKI", format_args!("{}, without padding", column(report.uki_size)))?;
        line(f, "initrd", column(report.initrd_size))?;
        line(f, "disk", mib(report.disk_size))?;
        command_line(f, "command line", &report.command_line)?;

        let mut heaviest: Vec<_> = report.components.iter().collect();
        heaviest.sort_by_key(|(name, bytes)| (Reverse(**bytes), *name));
        let total: u64 = report.components.values().sum();
        writeln!(f, "\ncomponents, {} of file content", column(total))?;
        for (name, bytes) in heaviest {
            let share = per_mille(*bytes, total);
            let share = format!("{}.{} %", share / 10, share % 10);
            writeln!(f, "  {:>10} {share:>7}  {name}", column(*bytes))?;
        }

        writeln!(f, "\nDebian packages")?;
        let width = report.packages.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, version) in &report.packages {
            writeln!(f, "  {name:<width$}  {version}")?;
        }

        let (paths, bytes) = report
            .dropped
            .values()
            .fold((0, 0), |(paths, bytes), dropped| (paths + dropped.paths, bytes + dropped.bytes));
        writeln!(f, "\nleft out of packages, {} in {paths} paths", column(bytes))?;
        let mut heaviest: Vec<_> = report.dropped.iter().collect();
        heaviest.sort_by_key(|(glob, dropped)| (Reverse(dropped.bytes), *glob));
        for (glob, dropped) in heaviest {
            let paths = if dropped.paths == 1 { "path" } else { "paths" };
            writeln!(f, "  {:>10} {:>5} {paths:<5}  {glob}", column(dropped.bytes), dropped.paths)?;
        }

        writeln!(f, "\nfiles")?;
        for file in &self.files {
            let size = file.size.map_or_else(|| "gone".to_owned(), column);
            writeln!(f, "  {size:>10}  {}", file.name)?;
        }
        Ok(())
    }
}

/// A name and its value.
fn line(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<12}  {value}")
}

/// A command line, broken between words.
fn command_line(f: &mut Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    let mut name = name;
    let mut current = String::new();
    for word in text.split_ascii_whitespace() {
        if !current.is_empty() && current.len() + 1 + word.len() > WIDTH - 16 {
            line(f, name, &current)?;
            name = "";
            current.clear();
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current += word;
    }
    line(f, name, current)
}

/// Bytes as mebibytes with one digit behind the point, to stand in a column.
fn column(bytes: u64) -> String {
    match bytes.saturating_mul(10).saturating_add(1 << 19) >> 20 {
        0 if bytes > 0 => "<0.1 MiB".to_owned(),
        tenths => format!("{}.{} MiB", tenths / 10, tenths % 10),
    }
}

/// How many thousandths of `total` are `part`, rounded; 0 of nothing.
fn per_mille(part: u64, total: u64) -> u128 {
    let total = u128::from(total).max(1);
    (u128::from(part) * 1000 + total / 2) / total
}

/// Sizes are easier to judge alone than in a whole text.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_a_column_are_rounded_and_never_nothing() {
        for (bytes, text) in [
            (0, "0.0 MiB"),
            (1, "<0.1 MiB"),
            (52_429, "0.1 MiB"),
            (1 << 20, "1.0 MiB"),
            (53_551_356, "51.1 MiB"),
        ] {
            assert_eq!(column(bytes), text);
        }
        assert_eq!(per_mille(1, 3), 333);
        assert_eq!(per_mille(0, 0), 0);
    }
}
