//! The closure of packages: alternatives, providers, kernels, and what cannot be satisfied.

use std::rc::Rc;

use formats::digest::Sha256;
use formats::tree::Blob;
use proptest::prelude::*;

use super::super::why::why;
use super::*;

mod conflicts;

/// One line a package: name, version, then `key: value` with bars between them.
fn archive(lines: &[&str]) -> Archive {
    Archive::new(Architecture::Amd64, Vec::new(), lines.iter().map(|line| record("trixie", line)))
        .unwrap()
}

fn record(suite: &str, line: &str) -> Record {
    let mut parts = line.split(" ; ");
    let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
    let fields: BTreeMap<_, _> = parts.map(|part| part.split_once(": ").unwrap()).collect();
    let field = |name| fields.get(name).copied().unwrap_or_default().to_owned();
    Record {
        name: name.to_owned(),
        version: version.parse().unwrap(),
        architecture: "amd64".to_owned(),
        source: name.to_owned(),
        suite: Rc::from(suite),
        path: format!("pool/{suite}/{name}.deb"),
        blob: Blob { sha256: Sha256::of(line), size: 1 },
        depends: field("depends"),
        provides: field("provides"),
        conflicts: field("conflicts"),
        breaks: field("breaks"),
    }
}

/// Calls the resolver and shows what comes of it as text: one line a package, then warnings.
fn check(lines: &[&str], wish: &str) -> String {
    match run(&mut archive(lines), wish) {
        Ok(resolution) => {
            let package = |package: &Package| {
                let by = package.required_by.iter().cloned().collect::<Vec<_>>().join(" ");
                format!("{} {} {:?} <- {by}", package.name, package.version, package.role)
            };
            let packages = resolution.packages.iter().map(package);
            let warnings = resolution.warnings.iter().map(|text| format!("warning: {text}"));
            packages.chain(warnings).collect::<Vec<_>>().join("\n")
        }
        Err(error) => {
            let code = error.id().code();
            format!("{code} {}\nhint: {}", error.chain(), error.hints().join("; "))
        }
    }
}

/// Words are packages; `+tool`, `-exclude`, `=kernel`. Without a kernel, `k` is one.
fn run(archive: &mut Archive, wish: &str) -> Result<Resolution> {
    let of = |prefix: char| {
        let words = wish.split(' ').filter_map(move |word| word.strip_prefix(prefix));
        words.map(str::to_owned)
    };
    let plain = |word: &&str| !word.is_empty() && !word.starts_with(['+', '-', '=']);
    let wishes = Wishes {
        packages: &wish.split(' ').filter(plain).map(str::to_owned).collect(),
        tools: &of('+').collect(),
        kernel: &of('=').next().unwrap_or("k".to_owned()),
        exclude: &of('-').map(|name| (name, "because".to_owned())).collect(),
    };
    resolve(archive, &wishes)
}

const K: &str = "k 6";
const K_LOCKED: &str = "k 6 Kernel <- recipe";

#[test]
fn the_closure_follows_depends_over_circles_and_says_who_required_what() {
    let lines = [K, "a 1 ; depends: b, c (>= 2)", "b 1 ; depends: a, c", "c 2", "d 1"];
    assert_eq!(
        check(&lines, "a"),
        format!("a 1 Root <- b recipe\nb 1 Root <- a\nc 2 Root <- a b\n{K_LOCKED}")
    );
}

#[test]
fn the_highest_version_of_all_suites_is_taken_and_of_equal_ones_the_first() {
    let records = [
        record("trixie", "a 1.9"),
        record("trixie-security", "a 1.10"),
        record("trixie-updates", "a 1.10"),
        record("trixie", K),
    ];
    let resolution =
        run(&mut Archive::new(Architecture::Amd64, Vec::new(), records).unwrap(), "a").unwrap();
    assert_eq!(resolution.packages[0].suite, "trixie-security");
    assert_eq!(resolution.packages[0].version, "1.10");
}

#[test]
fn of_alternatives_the_chosen_one_is_preferred_then_the_first_that_can_be_had() {
    for (depends, wish, taken) in [
        ("x | y", "a", "x"),
        ("y | x", "a", "y"),
        ("nothing | y", "a", "y"),
        ("x (>= 2) | y", "a", "y"),
        ("x [i386] | y", "a", "y"),
        ("x:i386 | y", "a", "y"),
        ("x | y", "a b", "y"),
        ("v", "a", "p"),
        ("v | y", "a b", "y"),
    ] {
        let a = format!("a 1 ; depends: {depends}");
        let lines =
            [K, &a, "b 1 ; depends: c", "c 1 ; depends: y", "x 1", "y 1", "p 1 ; provides: v"];
        let resolution = run(&mut archive(&lines), wish).unwrap();
        let of_a = |package: &&Package| package.required_by.contains("a");
        let names: Vec<_> =
            resolution.packages.iter().filter(of_a).map(|package| &package.name).collect();
        assert_eq!(names, [taken], "{depends}, {wish}");
    }
}

#[test]
fn a_virtual_package_satisfies_a_bound_only_with_a_version() {
    for (wanted, provides, satisfied) in [
        ("v", "v", true),
        ("v", "w, v (= 1)", true),
        ("v (>= 1)", "v", false),
        ("v (>= 1)", "v (= 1)", true),
        ("v (>= 2)", "v (= 1)", false),
    ] {
        let lines = [
            K.to_owned(),
            format!("a 1 ; depends: {wanted}"),
            format!("p 1 ; provides: {provides}"),
        ];
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let result = run(&mut archive(&lines), "a");
        assert_eq!(result.is_ok(), satisfied, "{wanted} by {provides}");
    }
}

#[test]
fn several_providers_are_a_warning_unless_one_is_chosen() {
    let lines = [K, "a 1 ; depends: v", "p 1 ; provides: v", "q 1 ; provides: v"];
    assert_eq!(
        check(&lines, "a"),
        format!(
            "a 1 Root <- recipe\n{K_LOCKED}\np 1 Root <- a\n\
             warning: `a` needs `v`, which `p`, `q` provide: `p` was taken; name the one you want \
             in `packages`"
        )
    );
    assert_eq!(
        check(&lines, "a q"),
        format!("a 1 Root <- recipe\n{K_LOCKED}\nq 1 Root <- a recipe")
    );
}

#[test]
fn excluded_packages_and_what_only_they_need_are_left_out() {
    let lines = [
        K,
        "a 1 ; depends: b, e | f, v",
        "b 1 ; depends: c",
        "c 1",
        "e 1",
        "f 1",
        "g 1 ; provides: v",
        "h 1 ; provides: v",
    ];
    // Leaving out `e` must not pull in `f`, nor leaving out `g` pull in `h`.
    assert_eq!(check(&lines, "a -b -e -g"), format!("a 1 Root <- recipe\n{K_LOCKED}"));
}

#[test]
fn an_exclude_that_cut_nothing_is_a_warning() {
    assert_eq!(
        check(&[K, "a 1 ; depends: b", "b 1"], "a -c"),
        format!(
            "a 1 Root <- recipe\nb 1 Root <- a\n{K_LOCKED}\n\
             warning: `exclude` names `c`, but nothing that is taken needs it"
        )
    );
}

#[test]
fn a_package_that_is_asked_for_cannot_be_excluded() {
    for wish in ["a -a", "+a -a", "=a -a"] {
        assert_eq!(
            check(&[K, "a 1"], wish),
            "E0412 the recipe asks for package `a` and excludes it\n\
             hint: `exclude` gives this reason: because"
        );
    }
}

#[test]
fn an_unknown_package_suggests_near_names() {
    let lines = [K, "containerd 1", "runc 1", "p 1 ; provides: v"];
    for (wish, text) in [
        ("contained", "E0410 no suite has a package `contained`\nhint: did you mean `containerd`?"),
        (
            "+contained",
            "E0410 no suite has a package `contained`\nhint: did you mean `containerd`?",
        ),
        ("v", "E0410 no suite has a package `v`\nhint: it is virtual: name one of `p`"),
        (
            "=zzz",
            "E0410 no suite has a package `zzz`\n\
             hint: look whether its suite and component are in the recipe",
        ),
    ] {
        assert_eq!(check(&lines, wish), text);
    }
}

#[test]
fn a_list_that_cannot_be_closed_shows_the_whole_chain() {
    let hint = "\nhint: add the suite that has it, or leave it out with `exclude`";
    for (depends, text) in [
        ("libseccomp2 (>= 9)", "libseccomp2 (>= 9): only 2.6.0 is available"),
        ("nothing", "nothing: no suite has it"),
        ("v (>= 2)", "v (>= 2): `p` provides it in no such version"),
        ("libseccomp2:i386", "libseccomp2:i386: images of amd64 have no packages of i386"),
        (
            "nothing | libseccomp2 (<< 2)",
            "nothing | libseccomp2 (<< 2): `nothing`: no suite has it; \
             `libseccomp2 (<< 2)`: only 2.6.0 is available",
        ),
    ] {
        let runc = format!("runc 1 ; depends: {depends}");
        let lines = [
            K,
            "containerd 2 ; depends: runc",
            &runc,
            "libseccomp2 2.6.0",
            "p 1 ; provides: v (= 1)",
        ];
        assert_eq!(
            check(&lines, "containerd"),
            format!(
                "E0411 cannot close the list of packages: \
                 recipe -> containerd -> runc -> {text}{hint}"
            )
        );
    }
}

#[test]
fn relations_that_cannot_be_understood_are_named_with_their_package() {
    let error = run(&mut archive(&[K, "a 1 ; depends: b c"]), "a").unwrap_err();
    assert_eq!(error.id(), Id::BadArchiveData);
    assert_eq!(
        error.chain(),
        "cannot understand what package `a` depends on: `b c` is not a relation to a package"
    );
    let error =
        Archive::new(Architecture::Amd64, Vec::new(), [record("trixie", "a 1 ; provides: b c")])
            .unwrap_err();
    assert_eq!(error.id(), Id::BadArchiveData);
}

#[test]
fn tools_come_without_their_dependencies() {
    let lines = [K, "a 1", "tool 1 ; depends: nothing"];
    assert_eq!(
        check(&lines, "a +tool +a"),
        format!("a 1 Root <- recipe\n{K_LOCKED}\ntool 1 Tool <- recipe")
    );
}

#[test]
fn of_a_kernel_meta_package_only_the_real_kernel_comes() {
    let lines = [
        "linux-image-cloud-amd64 6.12.1 ; depends: linux-image-6.12.1-cloud-amd64 (= 6.12.1)",
        "linux-image-6.12.1-cloud-amd64 6.12.1 ; depends: kmod, linux-base (>= 4.3), initramfs-tools",
        "kmod 1",
    ];
    let kernel = "linux-image-6.12.1-cloud-amd64 6.12.1 Kernel <- linux-image-cloud-amd64";
    assert_eq!(check(&lines, "=linux-image-cloud-amd64"), kernel);
    assert_eq!(
        check(&lines, "=linux-image-6.12.1-cloud-amd64"),
        "linux-image-6.12.1-cloud-amd64 6.12.1 Kernel <- recipe"
    );
    assert_eq!(
        check(&lines[..1], "=linux-image-cloud-amd64"),
        "E0411 cannot close the list of packages: recipe -> linux-image-cloud-amd64 -> \
         linux-image-6.12.1-cloud-amd64 (= 6.12.1): no suite has it\n\
         hint: add the suite that has it, or leave it out with `exclude`"
    );
}

#[test]
fn modules_in_a_package_of_their_own_come_with_the_kernel() {
    let lines = [
        "linux-image-7 7 ; depends: kmod, linux-modules-7 (= 7)",
        "linux-modules-7 7 ; depends: linux-image-7",
    ];
    assert_eq!(
        check(&lines, "=linux-image-7"),
        "linux-image-7 7 Kernel <- recipe\nlinux-modules-7 7 Kernel <- linux-image-7"
    );
}

#[test]
fn why_gives_the_shortest_chain_for_everyone_who_requires_it() {
    let lines = [
        "meta 6 ; depends: linux-image-6",
        "linux-image-6 6",
        "a 1 ; depends: b, libc6",
        "b 1 ; depends: libc6",
        "libc6 2 ; depends: gcc-base",
        "gcc-base 1 ; depends: libc6",
    ];
    let packages = run(&mut archive(&lines), "a =meta").unwrap().packages;
    let chains = |name| -> Vec<String> {
        why(&packages, name).iter().map(|chain| chain.join(" -> ")).collect()
    };
    assert_eq!(chains("libc6"), ["recipe -> a -> libc6", "recipe -> a -> b -> libc6"]);
    assert_eq!(chains("gcc-base"), ["recipe -> a -> libc6 -> gcc-base"]);
    assert_eq!(chains("a"), ["recipe -> a"]);
    assert_eq!(chains("linux-image-6"), ["recipe -> meta -> linux-image-6"]);
    assert!(chains("nothing").is_empty());
}

proptest! {
    #[test]
    fn a_closure_is_closed_and_does_not_depend_on_the_order_of_the_records(
        edges in prop::collection::vec((0u8..8, 0u8..8), 0..20),
        seed in any::<u64>(),
    ) {
        let depends = |from: u8| {
            let to = edges.iter().filter(|edge| edge.0 == from);
            to.map(|edge| format!("p{}", edge.1)).collect::<Vec<_>>().join(", ")
        };
        let mut lines: Vec<_> =
            (0..8).map(|from| format!("p{from} 1 ; depends: {}", depends(from))).collect();
        lines.push(K.to_owned());
        let strs = |lines: &[String]| {
            archive(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let first = run(&mut strs(&lines), "p0").unwrap();
        let names: BTreeSet<_> = first.packages.iter().map(|p| p.name.as_str()).collect();
        for (from, to) in &edges {
            let (from, to) = (format!("p{from}"), format!("p{to}"));
            prop_assert!(!names.contains(from.as_str()) || names.contains(to.as_str()));
        }
        for package in first.packages.iter().filter(|p| p.role == Role::Root) {
            prop_assert!(!why(&first.packages, &package.name).is_empty());
        }
        let by = usize::try_from(seed % 9).unwrap();
        lines.rotate_left(by);
        prop_assert_eq!(run(&mut strs(&lines), "p0").unwrap(), first);
    }
}

#[test]
fn compilers_are_closed_without_what_compiling_does_not_need() {
    let lines = [
        "gcc 4 ; depends: gcc-14, binutils",
        "gcc-14 14 ; depends: libgcc-14-dev, libasan8 (>= 99), gcc-14-base, libc6",
        "gcc-14-base 14",
        "libgcc-14-dev 14 ; depends: libgomp1, nothing-of-this-name | libc6",
        "libasan8 14",
        "binutils 2 ; depends: libc6",
        "libc6 2.41",
        "libc6-dev 2.41 ; depends: libc6, rpcsvc-proto",
    ];
    let archive = archive(&lines);
    let names = |wanted: &[&str]| {
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        let resolution = compilers(&archive, &wanted).unwrap();
        assert!(resolution.packages.iter().all(|package| package.role == Role::Compiler));
        assert_eq!(resolution.warnings, Vec::<String>::new());
        let names = resolution.packages.into_iter().map(|package| package.name);
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "");
    assert_eq!(names(&["gcc", "libc6-dev"]), "binutils gcc gcc-14 libc6 libc6-dev libgcc-14-dev");
    // One that is named is taken.
    assert_eq!(names(&["gcc-14-base", "libc6-dev"]), "gcc-14-base libc6 libc6-dev");
    let wanted = BTreeSet::from(["clang".to_owned()]);
    assert_eq!(compilers(&archive, &wanted).unwrap_err().id(), Id::UnknownPackage);
}

fn release(flags: &str) -> formats::deb::Release {
    let text = format!("Suite: s\nDate: Thu, 19 Nov 2026 02:12:54 UTC\n{flags}SHA256:\n");
    formats::deb::Release::parse(&text).unwrap()
}

/// `trixie`, `updates` and `backports`, whose packages are `NotAutomatic`; a record's suite is the
/// word before its line.
fn suites(lines: &[&str]) -> Archive {
    use super::super::archive::Origin;
    let backports = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n";
    let origins = [("trixie", ""), ("updates", ""), ("backports", backports)];
    let origins = origins.map(|(suite, flags)| Origin::new(suite, &release(flags)));
    let record = |line: &&str| {
        let (suite, line) = line.split_once(": ").unwrap();
        record(suite, line)
    };
    Archive::new(Architecture::Amd64, origins.to_vec(), lines.iter().map(record)).unwrap()
}

const BACKPORTS: &[&str] = &[
    "trixie: k 6",
    "trixie: crun 1.21-1 ; depends: lib",
    "trixie: lib 1 ; provides: virtual (= 1)",
    "trixie: other 1 ; depends: virtual",
    "updates: crun 1.21-2 ; depends: lib",
    "backports: k 7",
    "backports: crun 1.22-1~bpo ; depends: lib (>= 2), only",
    "backports: lib 2 ; provides: virtual (= 2)",
    "backports: only 3",
];

fn taken(wish: &str) -> Result<String> {
    let resolution = run(&mut suites(BACKPORTS), wish)?;
    let package =
        |package: &Package| format!("{} {} {}", package.name, package.version, package.suite);
    Ok(resolution.packages.iter().map(package).collect::<Vec<_>>().join(", "))
}

#[test]
fn a_suite_that_is_not_automatic_moves_nothing_by_itself() {
    assert_eq!(taken("crun").unwrap(), "crun 1.21-2 updates, k 6 trixie, lib 1 trixie");
    // What is only there is taken, as by apt.
    assert_eq!(taken("only").unwrap(), "k 6 trixie, only 3 backports");
}

#[test]
fn a_pin_takes_one_version_and_what_it_needs_of_its_suite() {
    for (wish, packages) in [
        ("crun=1.21-1", "crun 1.21-1 trixie, k 6 trixie, lib 1 trixie"),
        ("crun/trixie", "crun 1.21-1 trixie, k 6 trixie, lib 1 trixie"),
        ("crun crun/trixie", "crun 1.21-1 trixie, k 6 trixie, lib 1 trixie"),
        (
            "crun/backports",
            "crun 1.22-1~bpo backports, k 6 trixie, lib 2 backports, only 3 backports",
        ),
        (
            "crun=1.22-1~bpo other",
            "crun 1.22-1~bpo backports, k 6 trixie, lib 2 backports, only 3 backports, other 1 trixie",
        ),
        ("lib +crun/trixie", "crun 1.21-1 trixie, k 6 trixie, lib 1 trixie"),
        ("lib =k/backports", "k 7 backports, lib 1 trixie"),
    ] {
        assert_eq!(taken(wish).unwrap(), packages, "{wish}");
    }
    let warnings = run(&mut suites(BACKPORTS), "crun/backports").unwrap().warnings;
    assert_eq!(warnings, ["`lib` is taken from `backports` too: `crun` needs it"]);
}

#[test]
fn a_pin_that_nothing_fits_is_refused_with_what_there_is() {
    for (wish, message, hint) in [
        (
            "crun=9",
            "no suite has package `crun` in the version of `crun=9`",
            "there are 1.21-2 (updates), 1.21-1 (trixie), 1.22-1~bpo (backports)",
        ),
        ("only/trixie", "suite `trixie` has no package `only`", "there are 3 (backports)"),
        (
            "crun/sid",
            "suite `sid` has no package `crun`",
            "`sid` is none of `debian.suites`: add it there",
        ),
        ("crum/sid", "no suite has a package `crum`", "did you mean `crun`?"),
    ] {
        let error = taken(wish).unwrap_err();
        assert_eq!((error.id(), error.to_string().as_str()), (Id::UnknownPackage, message));
        assert_eq!(error.hints(), [hint]);
    }
    // Two pins that do not go together.
    let error = taken("crun/backports lib/trixie").unwrap_err();
    assert_eq!(error.id(), Id::Unsatisfiable);
}
