//! Packages that cannot be in one root.

use super::*;

const HINTS: &str = "hint: leave one of them out: do not name it in `packages`, or add it to \
                     `[debian.exclude]` with the reason; of another suite or version they may go \
                     together: `NAME/SUITE`, `NAME=VERSION`";

#[test]
fn packages_of_which_one_excludes_the_other_are_an_error_that_names_both_and_the_relation() {
    for (a, b, relation) in [
        ("breaks: b", "", "`Breaks: b`"),
        ("conflicts: b", "", "`Conflicts: b`"),
        ("conflicts: x, b (<< 3), y", "", "`Conflicts: b (<< 3)`"),
        ("breaks: b (<= 2)", "provides: v", "`Breaks: b (<= 2)`"),
        ("breaks: v", "provides: v", "`Breaks: v`, which `b` provides"),
        ("breaks: v (<< 2)", "provides: v (= 1)", "`Breaks: v (<< 2)`, which `b` provides"),
        ("provides: v ; conflicts: v", "provides: v", "`Conflicts: v`, which `b` provides"),
        ("breaks: b:any", "", "`Breaks: b:any`"),
        ("conflicts: b ; replaces: b", "", "`Conflicts: b`"),
    ] {
        let a = format!("a 1 ; {a}");
        let b = if b.is_empty() { "b 2".to_owned() } else { format!("b 2 ; {b}") };
        // Whichever of the two comes first.
        for (wish, way) in
            [("a c", "recipe -> a; recipe -> c -> b"), ("b z", "recipe -> z -> a; recipe -> b")]
        {
            let lines = [K, &a, &b, "c 1 ; depends: b", "z 1 ; depends: a"];
            let want = format!(
                "E0414 packages cannot be in one root:\n  `a` 1 and `b` 2: `a` has {relation} \
                 ({way})\n{HINTS}"
            );
            assert_eq!(check(&lines, wish), want);
        }
    }
}

#[test]
fn what_a_relation_does_not_mean_may_be_in_one_root() {
    for (a, b) in [
        ("breaks: b (<< 2)", "b 2"),
        ("breaks: b (= 2-1)", "b 2-2"),
        ("conflicts: v (<< 9)", "b 2 ; provides: v"),
        ("conflicts: v (<< 2)", "b 2 ; provides: v (= 2)"),
        ("conflicts: b:i386", "b 2"),
        ("conflicts: b [i386]", "b 2"),
        // Only one of a kind, and this is the one.
        ("provides: v ; conflicts: v", "b 2"),
        ("conflicts: a", "b 2"),
        // It has a name that another one refuses in another version only.
        ("breaks: b (<< 1) ; provides: w", "b 2 ; breaks: w (<< 1)"),
    ] {
        let a = format!("a 1 ; {a}");
        let want = format!("a 1 Root <- recipe\nb 2 Root <- recipe\n{K_LOCKED}");
        let b_line = b.replacen("b 2-2", "b 2", usize::from(!b.contains("2-2")));
        let got = check(&[K, &a, &b_line], "a b").replace("b 2-2", "b 2");
        assert_eq!(got, want, "{a}, {b}");
    }
}

#[test]
fn what_is_excluded_or_a_tool_conflicts_with_nothing_and_a_kernel_does() {
    let lines = [
        "meta 6 ; depends: linux-image-6",
        "linux-image-6 6 ; breaks: fw (<< 2)",
        "a 1 ; depends: b, fw ; conflicts: tool",
        "b 1 ; breaks: a, fw",
        "fw 1",
        "tool 1 ; conflicts: a",
    ];
    let locked = "a 1 Root <- recipe\nlinux-image-6 6 Kernel <- meta\ntool 1 Tool <- recipe";
    assert_eq!(check(&lines, "a =meta +tool -b -fw"), locked);
    assert_eq!(
        check(&lines, "a =meta +tool -b"),
        format!(
            "E0414 packages cannot be in one root:\n  `linux-image-6` 6 and `fw` 1: \
             `linux-image-6` has `Breaks: fw (<< 2)` (recipe -> meta -> linux-image-6; \
             recipe -> a -> fw)\n{HINTS}"
        )
    );
    // All of them are told.
    assert_eq!(check(&lines, "a =meta +tool").matches("\n  `").count(), 3);
}

#[test]
fn of_a_choice_what_can_be_beside_the_rest_is_taken() {
    let lines = [
        K,
        "a 1 ; depends: x | y",
        "b 1 ; conflicts: x",
        "c 1 ; depends: v",
        "d 1 ; depends: x",
        "p 1 ; provides: v ; breaks: b",
        "q 1 ; provides: v",
        "x 1",
        "y 1",
    ];
    let names = |wish: &str| {
        let packages = run(&mut archive(&lines), wish).map(|resolution| resolution.packages);
        packages
            .map(|all| all.into_iter().map(|package| package.name).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("a").unwrap(), "a k x");
    assert_eq!(names("a b").unwrap(), "a b k y");
    assert_eq!(names("c").unwrap(), "c k p");
    assert_eq!(names("b c").unwrap(), "b c k q");
    assert_eq!(names("b d").unwrap_err().id(), Id::PackagesConflict);
}

#[test]
fn compilers_agree_among_themselves() {
    let archive = archive(&["gcc 1 ; breaks: ld (<< 3)", "ld 2", "gcc-base 1 ; breaks: gcc"]);
    let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(compilers(&archive, &wanted(&["gcc"])).unwrap().packages.len(), 1);
    let error = compilers(&archive, &wanted(&["gcc", "ld"])).unwrap_err();
    assert_eq!(error.id(), Id::PackagesConflict);
}

#[test]
fn a_relation_that_cannot_be_understood_is_named_with_its_package() {
    for (field, name) in [("breaks", "Breaks"), ("conflicts", "Conflicts")] {
        let error = run(&mut archive(&[K, &format!("a 1 ; {field}: b c")]), "a").unwrap_err();
        assert_eq!(
            error.chain(),
            format!(
                "cannot understand `{name}` of package `a`: `b c` is not a relation to a package"
            )
        );
    }
}
