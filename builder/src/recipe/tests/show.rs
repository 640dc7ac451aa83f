//! `orlop recipe show`, and that what it prints is a recipe which reads the same.

use formats::quote;

use super::*;

#[test]
fn show_gives_every_value_its_line() {
    let child = "schema = 1\nextends = 'base.toml'\ndebian.packages.add = ['a']\n\
                 [tree.symlinks]\n'/b\"in' = 'usr/bin'\n";
    let base = format!("{LEAST}packages = ['runc']\n");
    let (directory, loaded) = load_first(&[("child.toml", child), ("base.toml", &base)], None);
    let text = loaded.unwrap().show();
    expect![[r#"
        schema = 1 # child.toml:1
        name = "least" # base.toml:2
        description = "" # default
        arch = "amd64" # default

        [os]
        id = "os" # base.toml:4
        name = "OS" # base.toml:5
        version = "1" # base.toml:6

        [kernel]
        command-line = [] # default
        initrd-modules = [] # default
        modules = [] # default
        modules-for-pods = [] # default
        modules-on-demand = [] # default
        modules-uncompressed = [] # default
        package = "linux" # base.toml:8

        [debian]
        compilers = [
            "gcc", # default
            "libc6-dev", # default
        ]
        components = [
            "main", # base.toml:11
        ]
        drop = [] # default
        keys = [] # base.toml:12
        packages = [
            "a", # child.toml:3
            "runc", # base.toml:13
        ]
        suites = [
            "trixie", # base.toml:10
        ]
        tools = [] # default

        [tree]
        directories = [] # default
        replace = [] # default

        [tree.symlinks]
        "/b\"in" = "usr/bin" # child.toml:5

        [disk]
        esp = "128 MiB" # default
        root = "768 MiB" # default
        state = "64 MiB" # default
        uki = "40 MiB" # default
    "#]]
    .assert_eq(&text.replace(&format!("{}/", directory.path().display()), ""));
}

/// `show` of a recipe is a recipe that reads the same, wherever it stands.
fn check_round_trip(loaded: &Loaded) {
    let shown = project(&[("shown/other.toml", &loaded.show())]);
    let again = load(&shown.path().join("shown/other.toml"), None).unwrap();
    assert_eq!(again.recipe, loaded.recipe);
    assert_eq!(without_comments(&again.show()), without_comments(&loaded.show()));
    assert_eq!(again.warnings, [""; 0]);
}

fn without_comments(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split(" # ").next().unwrap_or_default()).collect()
}

#[test]
fn our_recipes_read_without_a_warning_and_show_themselves() {
    for name in ["base", "node"] {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
        let loaded = load(&recipes.join(format!("{name}.toml")), None).unwrap();
        assert_eq!(loaded.warnings, [""; 0]);
        loaded.check().unwrap();
        assert!(crate::lock::path(&loaded).ends_with(format!("recipes/{name}.lock")));
        check_round_trip(&loaded);
    }
}

/// Every table is given a key that it cannot have: the hints then list those it has.
#[test]
fn the_page_on_recipes_explains_every_key() {
    let mut text = String::from("x = 1\n");
    for line in LEAST.lines() {
        text.push_str(line);
        text.push_str(if line.starts_with('[') { "\nnonsense = 1\n" } else { "\n" });
    }
    let tables = [
        "go.a",
        "cargo.a",
        "url.a",
        "local.a",
        "oci.a",
        "apparmor.a",
        "users.a",
        "tree",
        "disk",
        "budget",
    ];
    for table in tables {
        text.push_str(&format!("[{table}]\nnonsense = 1\n"));
    }
    let page = include_str!("../../../../docs/recipe.md");
    let mut tables = 0;
    // What lacks a key stops the reading: one table of components at a time is whole enough.
    let components = ["go", "cargo", "url", "local", "oci", "apparmor", "users"];
    for whole in components {
        let others = components.iter().filter(|name| **name != whole);
        let text = others.fold(text.clone(), |text, name| {
            text.replace(&format!("[{name}.a]\nnonsense = 1\n"), "")
        });
        let (_directory, loaded) = load_first(&[("r.toml", &text)], None);
        let error = loaded.unwrap_err().to_string();
        for keys in error.lines().filter_map(|line| line.split_once("its keys are ")) {
            tables += 1;
            for key in keys.1.split(", ") {
                assert!(page.contains(key), "{key}");
            }
        }
    }
    assert!(tables >= 14, "{tables}");
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set("[a-z\"\\\\ é#]{1,6}", 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_a_child_sets_is_what_is_loaded_and_shown(
        inherited in names(), set in names(), excluded in names(), reason in "\\PC{0,12}",
    ) {
        let list = |items: &BTreeSet<String>| quote::list(items.iter().map(String::as_str));
        let base = format!("{LEAST}packages = {}\n", list(&inherited));
        let mut child = format!(
            "schema = 1\nextends = 'base.toml'\n[debian]\npackages = {{ set = {} }}\n[debian.exclude]\n",
            list(&set),
        );
        for name in &excluded {
            child.push_str(&format!("{} = {}\n", quote::string(name), quote::string(&reason)));
        }
        let (_directory, loaded) =
            load_first(&[("child.toml", &child), ("base.toml", &base)], None);
        let loaded = loaded.unwrap();
        prop_assert_eq!(&loaded.recipe.debian.packages, &set);
        prop_assert!(loaded.recipe.debian.exclude.keys().eq(excluded.iter()));
        check_round_trip(&loaded);
    }

    #[test]
    fn no_text_makes_loading_panic(
        text in "(schema = 1|\\[kernel\\]|extends|profile|modules|add|[\\[\\]{}='\",.\n a-z0-9]|\\PC)*",
    ) {
        let (_directory, loaded) = load_first(&[("r.toml", &text)], None);
        prop_assert!(loaded.is_err());
    }
}
