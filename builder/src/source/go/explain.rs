//! Go's words for what somebody who builds images can mend, in ours.

use super::modules::Proxy;
use crate::error::{Error, Id};
use crate::go_mod::GoMod;

/// What Go says of a package of which no file is for this target.
const EXCLUDED: &str = "build constraints exclude all Go files";

/// The failure of a build. `with_c` names the packages that have parts in C.
pub(super) fn failure(
    error: Error,
    gomod: &GoMod,
    proxy: &Proxy,
    with_c: impl FnOnce() -> Vec<String>,
) -> Error {
    let words = error.to_string();
    if words.contains(&proxy.url()) {
        let message = format!("the modules of `{}` are not fetched", gomod.module);
        return Error::new(Id::GoNotFetched, message).caused_by(error).hint("run `orlop fetch`");
    }
    // What is missing may be what the C compiler would have made.
    if !words.contains(EXCLUDED) && !words.contains("undefined: ") {
        return error;
    }
    let with_c = with_c();
    if with_c.is_empty() {
        return error;
    }
    let names: Vec<_> = with_c.iter().map(|name| format!("`{name}`")).collect();
    let message =
        format!("programs of an image hold no C, and {} cannot do without", names.join(", "));
    Error::new(Id::GoNeedsC, message)
        .caused_by(error)
        .hint("look for a tag in `tags` that leaves C out, or for a module that is all Go")
}
