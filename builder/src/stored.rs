//! How digests and blobs are written into JSON and TOML.

use std::path::Path;

use formats::digest::Sha256;
use formats::tree::Blob;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path as JSON has it: as text, whatever bytes it is made of.
///
/// # Errors
/// Those of the serializer.
pub(crate) fn path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A digest as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex(pub Sha256);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A blob as `{"sha256": "...", "size": 1}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob(pub Blob);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    sha256: Hex,
    size: u64,
}

impl Serialize for StoredBlob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields { sha256: Hex(self.0.sha256), size: self.0.size }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredBlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { sha256, size } = Fields::deserialize(deserializer)?;
        Ok(Self(Blob { sha256: sha256.0, size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_survives_json() {
        let blob = StoredBlob(Blob { sha256: Sha256::of("abc"), size: 3 });
        let text = serde_json::to_string(&blob).unwrap();
        assert_eq!(
            text,
            "{\"sha256\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\
             \"size\":3}"
        );
        assert_eq!(serde_json::from_str::<StoredBlob>(&text).unwrap(), blob);
        assert!(serde_json::from_str::<StoredBlob>("{\"sha256\":\"ab\",\"size\":3}").is_err());
    }
}
