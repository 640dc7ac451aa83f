//! [`Contents`](crate::contents::Contents) in the two forms that others read. Both are made of it
//! alone, so they say the same, and the same bytes come out of the same build.

pub mod cyclonedx;
pub mod spdx;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// All times in all images are this one, and so are those of what is said of them.
const TIME: &str = "1970-01-01T00:00:00Z";

/// The digest of a Go module, which `go.sum` has in base64, as hexadecimal digits. It is one of
/// SHA-256, over the digests of the module's files.
pub fn module_digest(sum: &str) -> Option<String> {
    let bytes = STANDARD.decode(sum.strip_prefix("h1:")?).ok().filter(|bytes| bytes.len() == 32)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_digest_is_that_of_go_sum_in_digits() {
        // The example of in-toto's `dirHash`.
        let sum = "h1:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48=";
        let want = "2a1bb6127fb481c60f67692e22285fb306f3c6ffe62075e0ccf674d7c3adcb8f";
        assert_eq!(module_digest(sum).as_deref(), Some(want));
        for sum in ["", "h1:", "h1:AA==", "h2:Khu2En+0gcYPZ2kuIihfswbzxv/mIHXgzPZ018Oty48="] {
            assert_eq!(module_digest(sum), None, "{sum}");
        }
    }
}
