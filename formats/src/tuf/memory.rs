//! A client and a repository in memory: for tests, and for whoever wants to know what a client would
//! say of metadata that is not published yet.

use std::collections::BTreeMap;

use super::error::Refused;
use super::workflow::Io;

/// What is kept, and what is served, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Metadata that the client keeps.
    pub kept: BTreeMap<String, Vec<u8>>,
    /// What lies below the address of the repository's metadata.
    pub served: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// A client that has nothing but a root.
    pub fn new(root: &[u8]) -> Self {
        let kept = [("root.json".to_owned(), root.to_vec())].into();
        Self { kept, served: BTreeMap::new() }
    }
}

/// The first byte beyond a limit shows that there are more.
fn up_to(bytes: &[u8], limit: u64) -> Vec<u8> {
    let end = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    bytes[..end.min(bytes.len())].to_vec()
}

impl Io for Memory {
    type Error = Refused;

    fn load(&mut self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, Refused> {
        Ok(self.kept.get(file).filter(|bytes| bytes.len() as u64 <= limit).cloned())
    }

    fn fetch(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Refused> {
        Ok(self.served.get(path).map(|bytes| up_to(bytes, limit)))
    }

    fn store(&mut self, file: &str, bytes: &[u8]) -> Result<(), Refused> {
        self.kept.insert(file.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, file: &str) -> Result<(), Refused> {
        self.kept.remove(file);
        Ok(())
    }
}
