//! What a registry says, of artifacts and of images.

use formats::oci::{Artifact, Configuration, Listing, Location};

use super::text;

/// A manifest that is read is written, and read as the same.
pub(crate) fn registry(bytes: &[u8]) {
    if let Ok(artifact) = Artifact::parse(bytes) {
        let stays = |name: &str| !["", ".", ".."].contains(&name);
        assert!(artifact.files.iter().all(|file| file.path.as_str().split('/').all(stays)));
        let written = artifact.manifest(&[]);
        assert_eq!(Artifact::parse(&written.bytes).ok(), Some(artifact));
    }
    if let Err(error) = Listing::parse(bytes) {
        assert!(!error.to_string().contains(char::is_control));
    }
    if let Ok(configuration) = Configuration::parse(bytes) {
        assert!(!configuration.platform.to_string().contains(char::is_control));
    }
    text(bytes, |text| {
        if let Ok(location) = Location::new(text) {
            assert_eq!(Location::new(&location.to_string()).ok(), Some(location));
        }
    });
    builder::outside::registry(bytes);
}
