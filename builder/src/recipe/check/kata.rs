//! Whether `[kata]` can be what it says.

use formats::tree::TreePath;

use super::super::model::{Guest, Hypervisor, Kata, Name, Recipe};
use super::Check;
use crate::source::url::FILE_ITSELF;

/// The program of which a component is containerd.
const CONTAINERD: &str = "github.com/containerd/containerd/v2/cmd/containerd";

pub(super) fn check(check: &mut Check<'_>, recipe: &Recipe) {
    let Some(kata) = &recipe.kata else { return };
    payload(check, recipe, kata);
    if kata.at.0 == TreePath::ROOT {
        check.wrong(&["kata", "at"], "`/` is not a place for the files of Kata").hint =
            Some("leave `at` out for `/opt/kata`, where upstream has them".to_owned());
    }
    if kata.guest == Guest::Confidential && kata.hypervisor != Hypervisor::Qemu {
        let message = format!("`{}` runs no confidential guests", kata.hypervisor);
        check.wrong(&["kata", "guest"], message).hint =
            Some("of the hypervisors of Kata `qemu` does".to_owned());
    }
    if kata.hypervisor == Hypervisor::Firecracker && kata.snapshotter.is_none() {
        let message = "`firecracker` shares no files with its guests, so its containers need a \
                       snapshotter that makes block devices";
        check.wrong(&["kata", "hypervisor"], message).hint = Some(
            "name one as `kata.snapshotter` (docs/kata.md), or take another hypervisor".to_owned(),
        );
    }
    if let Some(snapshotter) = &kata.snapshotter {
        left_out(check, recipe, snapshotter);
    }
}

fn payload(check: &mut Check<'_>, recipe: &Recipe, kata: &Kata) {
    let name = kata.payload.as_str();
    let keys = ["kata", "payload"];
    match recipe.url.get(&kata.payload) {
        None => {
            let message = format!("there is no `url.{name}`, which would be the release of Kata");
            check.wrong(&keys, message).hint =
                Some(format!("give `[url.{name}]` the address and the `sha256` of a release"));
        }
        Some(url) if url.unpack.contains_key(FILE_ITSELF) => {
            let keys = ["url", name, "unpack", FILE_ITSELF];
            check.wrong_key(&keys, format!("`url.{name}` is a release of Kata, which is unpacked"));
        }
        Some(_) => {}
    }
}

/// That containerd is compiled without the snapshotter, if so.
fn left_out(check: &mut Check<'_>, recipe: &Recipe, snapshotter: &Name) {
    let tag = format!("no_{snapshotter}");
    for (name, go) in &recipe.go {
        if go.programs.contains_key(CONTAINERD) && go.tags.contains(&tag) {
            let message = format!("containerd is compiled without `{snapshotter}`");
            check.wrong(&["kata", "snapshotter"], message).hint =
                Some(format!("write `tags = {{ remove = [\"{tag}\"] }}` in `[go.{name}]`"));
        }
    }
}
