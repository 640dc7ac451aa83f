//! Which packages compile Cargo components: the closure of what the recipe names, without what
//! compiling and linking C do not need.

use std::collections::{BTreeMap, BTreeSet};

use super::{Archive, Closure, RECIPE, Resolution};
use crate::error::Result;
use crate::lock::model::Role;

/// Packages that Debian's compilers depend on and that these programs are compiled without:
/// together they are a quarter of all bytes. One that a suite does not have is left out, too.
const LEFT_OUT: &[&str] = &[
    // Libraries of languages and checks that `gcc` is asked for by options.
    "libasan8",
    "libatomic1",
    "libcc1-0",
    "libgomp1",
    "libgprofng0",
    "libhwasan0",
    "libitm1",
    "liblsan0",
    "libquadmath0",
    "libtsan2",
    "libubsan1",
    // Documentation and translations.
    "binutils-common",
    "gcc-12-base",
    "gcc-13-base",
    "gcc-14-base",
    "gcc-15-base",
    "libc-dev-bin",
    // What once belonged to the C library: passwords, RPC and NIS.
    "libcrypt-dev",
    "libnsl-dev",
    "libtirpc-dev",
    "rpcsvc-proto",
];

/// Closes the list of packages that compile.
///
/// # Errors
/// Those of [`super::resolve`].
pub fn compilers(archive: &Archive, wanted: &BTreeSet<String>) -> Result<Resolution> {
    let left_out = LEFT_OUT.iter().filter(|name| !wanted.contains(**name));
    let left_out: BTreeMap<_, _> =
        left_out.map(|name| ((*name).to_owned(), String::new())).collect();
    let pinned = BTreeSet::new();
    let mut closure = Closure::new(archive, &left_out, &pinned);
    for name in wanted {
        closure.choose(archive.named(name)?, RECIPE)?;
    }
    closure.settle_all()?;
    closure.must_agree(&[])?;
    let packages = closure.packages(Role::Compiler).into_values().collect();
    Ok(Resolution { packages, warnings: closure.warnings })
}
