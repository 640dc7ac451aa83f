//! Whether Rust programs are compiled by the compiler that the lock records: another one makes
//! other programs of the same sources.

use std::collections::BTreeSet;

use crate::build::Request;
use crate::environment::Environment;
use crate::error::{Error, Id, Result};
use crate::lock::model::Rustc;
use crate::recipe::Recipe;
use crate::source::cargo::{self, Seen};

/// The compilers that are here for the recipe's Cargo components. A workspace may name its own.
///
/// # Errors
/// [`Id::MissingTool`], [`Id::Read`].
pub fn here(recipe: &Recipe, environment: &Environment, seen: &Seen) -> Result<BTreeSet<Rustc>> {
    let workspaces: BTreeSet<_> = recipe.all_cargo().map(|(_, cargo)| &cargo.workspace).collect();
    workspaces.into_iter().map(|workspace| cargo::ask(environment, workspace, seen)).collect()
}

/// Compares them with the lock's: what comes back is worth a warning.
///
/// # Errors
/// [`Id::OtherRustc`] if they differ and the request is to use what the lock says and nothing else;
/// those of [`here`].
pub fn check(request: &Request<'_>, seen: &Seen) -> Result<Vec<String>> {
    let messages = others(&here(request.recipe, request.environment, seen)?, &request.lock.rustc);
    match messages.first() {
        Some(message) if request.locked => Err(Error::new(Id::OtherRustc, message.clone())
            .hint("use that compiler, or let `orlop lock` record this one")),
        _ => Ok(messages),
    }
}

fn others(here: &BTreeSet<Rustc>, locked: &[Rustc]) -> Vec<String> {
    let words = |rustc: &Rustc| format!("`{}` for `{}`", rustc.version, rustc.host);
    let recorded: Vec<_> = locked.iter().map(words).collect();
    let recorded = if recorded.is_empty() { "none".to_owned() } else { recorded.join(", ") };
    let other = here.iter().filter(|rustc| !locked.contains(rustc));
    let message = |rustc: &Rustc| {
        let here = words(rustc);
        format!(
            "Rust programs are compiled by {here}, the lock records {recorded}: their bytes may differ"
        )
    };
    other.map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rustc(version: &str) -> Rustc {
        let [version, commit, host, llvm] =
            [version, "59807616e", "x86_64-unknown-linux-gnu", "22.1.2"].map(str::to_owned);
        Rustc { version, commit, host, llvm }
    }

    #[test]
    fn a_compiler_that_the_lock_does_not_record_is_named_beside_the_one_it_does() {
        let (old, new) = (rustc("rustc 1.95.0"), rustc("rustc 1.96.0"));
        assert_eq!(others(&[old.clone()].into(), std::slice::from_ref(&old)), Vec::<String>::new());
        assert_eq!(others(&BTreeSet::new(), &[]), Vec::<String>::new());
        assert_eq!(
            others(&[old.clone(), new.clone()].into(), std::slice::from_ref(&old)),
            [
                "Rust programs are compiled by `rustc 1.96.0` for `x86_64-unknown-linux-gnu`, the lock \
              records `rustc 1.95.0` for `x86_64-unknown-linux-gnu`: their bytes may differ"
            ]
        );
        assert!(others(&[new].into(), &[])[0].contains("the lock records none"));
        let patched = Rustc { commit: "unknown".to_owned(), ..old.clone() };
        assert_eq!(others(&[patched].into(), &[old]).len(), 1);
    }
}
