//! What the resolver is asked, as lines: what stands in none of them cannot make a lock stale.

use crate::recipe::Recipe;

/// One fact a line, sorted, without repeats.
///
/// Go and Cargo components are not here: `go.sum` and `Cargo.lock` are their locks. Only whether
/// there are Cargo components matters, because of the compilers. Neither are
/// the reasons of `exclude` nor `drop`, which change the tree and not the packages.
pub fn inputs(recipe: &Recipe) -> Vec<String> {
    let debian = &recipe.debian;
    let mut lines = vec![format!("arch {}", recipe.arch)];
    let numbered = |(index, suite): (usize, &String)| format!("suite {} {suite}", index + 1);
    lines.extend(debian.suites.iter().enumerate().map(numbered));
    lines.extend(debian.components.iter().map(|name| format!("component {name}")));
    lines.extend(debian.keys.iter().map(|key| format!("key {}", key.to_ascii_uppercase())));
    lines.extend(debian.snapshot.map(|snapshot| format!("snapshot {}", snapshot.0)));
    lines.push(format!("kernel {}", recipe.kernel.package));
    lines.extend(debian.packages.iter().map(|name| format!("package {name}")));
    lines.extend(debian.tools.iter().map(|name| format!("tool {name}")));
    lines.extend(recipe.compilers().map(|name| format!("compiler {name}")));
    lines.extend(debian.exclude.keys().map(|name| format!("exclude {name}")));
    let urls = recipe.url.iter();
    lines.extend(urls.map(|(name, url)| format!("url {name} {} {}", url.url, url.sha256.0)));
    let images = recipe.oci.iter().filter_map(|(name, oci)| Some((name, oci.registry.as_ref()?)));
    lines.extend(images.map(|(name, location)| format!("image {name} {}", location.0)));
    lines.sort();
    lines.dedup();
    lines
}
