//! Which modules of the kernel come into the root, and in which form.

use crate::archive::{gzip, module};
use crate::project::Project;

/// A project whose kernel has two more modules, the second of which needs the first; it asks for
/// the second on demand. `config` is what the kernel was built with.
fn project(config: &str) -> Project {
    let mut project = Project::new();
    let kernel = project.archive.packages[1].clone();
    project.archive.packages[1] = kernel
        .file("boot/config-6.0", config)
        .file("usr/lib/modules/6.0/kernel/net/tunnel4.ko.gz", gzip(&module("")))
        .file("usr/lib/modules/6.0/kernel/net/ipip.ko.gz", gzip(&module("tunnel4")));
    project.server.serve(project.archive.publish());
    project.change(
        "modules = [\"overlay\", \"ext4\"]",
        "modules = [\"overlay\", \"ext4\"]\nmodules-on-demand = [\"ipip\"]",
    );
    project
}

/// The modules in the root, below their directory.
fn modules(project: &Project, recipe: &str) -> Vec<String> {
    project.good(&["build", recipe, "-o", "out"]);
    let manifest = String::from_utf8(project.read("out/manifest.txt")).unwrap();
    let below = |line: &str| {
        let path = line.split(' ').nth(4)?.strip_prefix("/usr/lib/modules/6.0/kernel/")?;
        path.contains(".ko").then(|| path.to_owned())
    };
    manifest.lines().filter_map(below).collect()
}

const UNPACKS: &str = "CONFIG_MODULES=y\nCONFIG_MODULE_DECOMPRESS=y\n";

#[test]
fn a_module_on_demand_stays_compressed_if_the_kernel_unpacks_it_itself() {
    let own = "fs/overlayfs/overlay.ko";
    let packed = [own, "net/ipip.ko.gz", "net/tunnel4.ko.gz"];
    let plain = [own, "net/ipip.ko", "net/tunnel4.ko"];
    assert_eq!(modules(&project(UNPACKS), "recipe.toml"), packed);
    let config = "# CONFIG_MODULE_DECOMPRESS is not set\n";
    assert_eq!(modules(&project(config), "recipe.toml"), plain);

    let project = project(UNPACKS);
    project.change("[debian]\n", "modules-uncompressed = [\"ipip\"]\n\n[debian]\n");
    assert_eq!(modules(&project, "recipe.toml"), plain);
}

#[test]
fn modules_for_pods_are_uncompressed_and_in_a_list_of_their_own() {
    let project = project(UNPACKS);
    let list = "/usr/lib/orlop/modules-for-pods ";
    let manifest = |of: &Project| String::from_utf8(of.read("out/manifest.txt")).unwrap();
    modules(&project, "recipe.toml");
    assert!(!manifest(&project).contains(list), "an empty list is a file");
    project.change("modules-on-demand", "modules-for-pods");
    assert_eq!(
        modules(&project, "recipe.toml"),
        ["fs/overlayfs/overlay.ko", "net/ipip.ko", "net/tunnel4.ko"]
    );
    let manifest = manifest(&project);
    let line = manifest.lines().find(|line| line.contains(list)).expect("the list");
    // `ipip` and the end of its line.
    assert_eq!(line.split(' ').nth(6), Some("5"), "{line}");
}

#[test]
fn a_recipe_takes_away_a_module_that_its_parent_has_and_what_only_that_needs() {
    let project = project(UNPACKS);
    project.write(
        "less.toml",
        "schema = 1\nextends = \"recipe.toml\"\n\
         [kernel]\nmodules-on-demand = { remove = [\"ipip\"] }\n",
    );
    assert_eq!(modules(&project, "less.toml"), ["fs/overlayfs/overlay.ko"]);
    let manifest = String::from_utf8(project.read("out/manifest.txt")).unwrap();
    assert!(manifest.contains("/usr/lib/modules/6.0/config "), "{manifest}");
}
