//! Which recipe the default place of an output is of. Two recipes of one name, as when one extends
//! the other and keeps its name, would replace each other's images without a word.

use std::fs;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use crate::error::{Error, Id, Result};
use crate::recipe;
use crate::store::Store;

/// The kind under which the store remembers which recipe was built where.
const OWNER: &str = "output-of";

/// Who builds where.
#[derive(Debug)]
pub struct Owner<'a> {
    store: &'a Store,
    recipe: PathBuf,
    output: PathBuf,
}

impl<'a> Owner<'a> {
    /// `recipe` as the user named it, `output` the place for its images that nobody named.
    pub fn new(store: &'a Store, recipe: &Path, output: &Path) -> Self {
        let recipe =
            if recipe.is_dir() { recipe.join(recipe::FILE_NAME) } else { recipe.to_owned() };
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let recipe = fs::canonicalize(&recipe).unwrap_or_else(|_| absolute(&recipe));
        Self { store, recipe, output: absolute(output) }
    }

    /// Checks that the images which are there, if any, are not those of another recipe that is
    /// still there.
    ///
    /// # Errors
    /// [`Id::OutputInTheWay`].
    pub fn check(&self) -> Result<()> {
        let Some(other) = self.store.step(OWNER, &self.key()) else { return Ok(()) };
        let Ok(other) = String::from_utf8(other).map(PathBuf::from) else { return Ok(()) };
        if other == self.recipe || !other.is_file() || !self.output.exists() {
            return Ok(());
        }
        let message = format!(
            "cannot put the images into `{}`: those of another recipe of this name are there, `{}`",
            self.output.display(),
            other.display()
        );
        Err(Error::new(Id::OutputInTheWay, message)
            .hint("give this recipe a `name` of its own, or name a directory with `--output`"))
    }

    /// Remembers whose images are there now.
    ///
    /// # Errors
    /// [`Id::StoreWrite`].
    pub fn remember(&self) -> Result<()> {
        // A name that is not text is only not protected.
        let Some(recipe) = self.recipe.to_str() else { return Ok(()) };
        if self.store.step(OWNER, &self.key()).as_deref() == Some(recipe.as_bytes()) {
            return Ok(());
        }
        self.store.put_step(OWNER, &self.key(), recipe.as_bytes())
    }

    fn key(&self) -> Sha256 {
        Sha256::of(self.output.as_os_str().as_encoded_bytes())
    }
}
