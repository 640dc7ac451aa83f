//! The boot loader of the node's disk: which it is, and its replacement by that of the image that runs.

use std::fs::File;
use std::io::Read as _;

use formats::boot_loader::IN_IMAGE;
use serde_json::{Value, json};

use super::Node;
use crate::boot_loader::{self, Terms, own_architecture};
use crate::files::below;
use crate::steps::Disks as _;
use crate::words::words;

/// No loader has more bytes.
const LARGEST: u64 = 16 << 20;

impl Node {
    /// The version of the loader that firmware starts.
    ///
    /// # Errors
    /// In words: there is none that is known here.
    pub fn loader(&self) -> Result<String, String> {
        let extents = self.machine.esp.loader();
        let installed = boot_loader::installed(self.machine.disks.esp_to_read(), extents);
        Ok(installed.map_err(|error| words(&error))?.version)
    }

    /// The version of the loader of the image that runs.
    ///
    /// # Errors
    /// In words: it brings none.
    pub fn loader_of_image(&self) -> Result<String, String> {
        let bytes = self.own_loader()?;
        let loader = formats::boot_loader::BootLoader::parse(&bytes, own_architecture());
        Ok(loader.map_err(|error| format!("`{IN_IMAGE}`: {error}"))?.version)
    }

    fn own_loader(&self) -> Result<Vec<u8>, String> {
        let cannot =
            |error| format!("cannot read the boot loader of this image, `{IN_IMAGE}`: {error}");
        let file = File::open(below(&self.root, IN_IMAGE)).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(cannot)?;
        Ok(bytes)
    }

    /// Replaces the boot loader. Not while a release is tried, nor by what was never healthy here: whoever
    /// falls back then must find the loader that it came by.
    ///
    /// # Errors
    /// In words. The loader is whole, the old one or the new one.
    pub fn update_loader(&mut self, terms: Terms) -> Result<Value, String> {
        let running = self.machine.running().root_hash;
        let slot = self.slot();
        let meta = self.remembered()?;
        let state = self.machine.state(&[]).map_err(|error| words(&error))?;
        state.check_stays().map_err(|refusal| refusal.to_string())?;
        if meta.good(slot).is_none_or(|good| good.root_hash != running) {
            return Err(
                "this version was not found healthy yet: the boot loader is left alone until it is, \
                 the log of `updater` says what is lacking"
                    .into()
            );
        }
        let offered = self.own_loader()?;
        let outcome = boot_loader::update(self.machine.disks.esp(), &offered, terms);
        let outcome = outcome.map_err(|error| words(&error))?;
        let done = if terms.dry_run { "would-replace" } else { "replaced" };
        let mut result = json!({ "before": outcome.before, "loader": outcome.offered });
        result[done] = json!(outcome.replaced);
        Ok(result)
    }
}
