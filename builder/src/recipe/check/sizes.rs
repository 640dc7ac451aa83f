//! Whether the sizes in `[disk]` can be: everything that does not depend on what is in the image.

use super::super::model::{Disk, Mib, Recipe};
use super::Check;
use crate::image::disk::ESP_MOST;
use crate::image::state;

/// What the ESP holds beside the two UKIs: boot loader, FAT tables, directories.
const ESP_REST: Mib = Mib(8);
/// FAT32 has at least 65,525 clusters; the smallest are of 512 bytes (Microsoft, "FAT32 File
/// System Specification" 1.03).
const ESP_LEAST: Mib = Mib(34);
/// Block numbers of 32 bits, in the root's EROFS and in the ext4 of `STATE`.
const VOLUME_MOST: Mib = Mib(16 << 20);

pub(super) fn check(check: &mut Check<'_>, recipe: &Recipe) {
    let Disk { esp, root, state, uki } = recipe.disk.clone();
    let need = u64::from(uki.0) * 2 + u64::from(ESP_REST.0);
    let at_least = |least: &dyn std::fmt::Display| Some(format!("it takes at least {least}"));
    let at_most = |most: Mib| Some(format!("it can have {most}"));
    if need > u64::from(ESP_MOST.0) {
        let message = format!("no ESP can hold two UKIs of {uki}");
        check.wrong(&["disk", "uki"], message).hint =
            Some(format!("a UKI is rarely larger than {}", Disk::default().uki));
    } else if u64::from(esp.0) < need {
        let message = format!("the ESP of {esp} cannot hold two UKIs of {uki} and the boot loader");
        check.wrong(&["disk", "esp"], message).hint = at_least(&format!("{need} MiB"));
    }
    if esp < ESP_LEAST {
        let message = format!("the ESP of {esp} is too small for FAT32");
        check.wrong(&["disk", "esp"], message).hint = at_least(&ESP_LEAST);
    }
    if esp > ESP_MOST {
        let message = format!("the ESP of {esp} is too large for FAT32");
        check.wrong(&["disk", "esp"], message).hint = at_most(ESP_MOST);
    }
    let state_least = Mib(u32::try_from(state::LEAST_SIZE >> 20).unwrap_or(u32::MAX));
    if state < state_least {
        let message = format!("the `STATE` of {state} is too small for a file system");
        check.wrong(&["disk", "state"], message).hint = at_least(&state_least);
    }
    for (key, size) in [("root", root), ("state", state)] {
        if size > VOLUME_MOST {
            let message = format!("`disk.{key}` of {size} is too large for its file system");
            check.wrong(&["disk", key], message).hint = at_most(VOLUME_MOST);
        }
    }
}
