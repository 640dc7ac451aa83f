//! What one store has for another: sources for a build that shall find no results.

use std::fs;
use std::io;

use formats::digest::Sha256;
use formats::tree::Blob;

use super::Store;
use crate::error::{Context as _, Error, Id, Result};

impl Store {
    /// Gives a blob to another store. Both have the same file where the file system can do that:
    /// no store writes to a blob that has its name.
    ///
    /// # Errors
    /// [`Id::StoreMissing`], [`Id::StoreWrite`].
    pub fn lend(&self, blob: &Blob, to: &Self) -> Result<()> {
        if to.has(blob) {
            return Ok(());
        }
        let (from, place) = (self.blob_path(&blob.sha256), to.blob_path(&blob.sha256));
        if let Some(directory) = place.parent() {
            to.sharing.directory(directory).or_fail(Id::StoreWrite, || to.cannot_write())?;
        }
        match fs::hard_link(&from, &place) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message =
                    format!("blob `{}` is not in the store `{}`", blob.sha256, self.root.display());
                Err(Error::new(Id::StoreMissing, message).hint("`orlop fetch` brings it"))
            }
            // Another file system, or a file of somebody else.
            Err(_) => to.put(&mut self.open_blob(blob)?).map(drop),
        }
    }

    /// Gives the result of a step of this kind with this key to another store, with all blobs that
    /// the result names and that are here. One that is not here is not given.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn lend_result(&self, kind: &str, key: &Sha256, to: &Self) -> Result<()> {
        let Some(result) = self.result(&self.step_path(kind, key)) else { return Ok(()) };
        // A result is JSON, and names blobs by 64 digits.
        let text = String::from_utf8_lossy(&result);
        for word in text.split(|c: char| !c.is_ascii_hexdigit()) {
            let Ok(sha256) = word.parse::<Sha256>() else { continue };
            if let Ok(meta) = fs::metadata(self.blob_path(&sha256)) {
                self.lend(&Blob { sha256, size: meta.len() }, to)?;
            }
        }
        to.put_step(kind, key, &result)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_store_gets_what_was_lent_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to] =
            ["from", "to"].map(|name| Store::open(directory.path().join(name)).unwrap());
        let [one, two, other] =
            ["one", "two", "other"].map(|text| from.put_bytes(text.as_bytes()).unwrap());
        let key = Sha256::of("key");
        let result =
            format!("{{\"a\":{{\"sha256\":\"{}\",\"size\":3}},\"b\":\"{key}\"}}", two.sha256);
        from.put_step("go", &key, result.as_bytes()).unwrap();
        from.lend(&one, &to).unwrap();
        from.lend(&one, &to).unwrap();
        from.lend_result("go", &key, &to).unwrap();
        from.lend_result("cargo", &key, &to).unwrap();
        assert_eq!([&one, &two, &other].map(|blob| to.has(blob)), [true, true, false]);
        assert_eq!(to.read_blob(&one).unwrap(), b"one");
        assert_eq!(to.step("go", &key), Some(result.into_bytes()));
        assert_eq!(to.step("cargo", &key), None);
        let inode = |store: &Store| fs::metadata(store.blob_path(&one.sha256)).unwrap().ino();
        assert_eq!(inode(&from), inode(&to));
        let missing = Blob { sha256: key, size: 3 };
        assert_eq!(from.lend(&missing, &to).unwrap_err().id(), Id::StoreMissing);
    }
}
