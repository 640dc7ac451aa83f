//! The keys of a `keys.toml` as far as they are here, for whoever signs metadata of a release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use formats::tuf::{self, KeyId};

use super::passphrase::Source;
use super::roles::{FILE_NAME, Holder, Role, Roles, Signing};
use super::store::signer;
use super::{PublicKey, Signer};
use crate::durable;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::recipe::model::Name;

/// The form that metadata has of a key.
pub fn of_metadata(public: &PublicKey) -> tuf::Key {
    tuf::Key::new(&tuf::PublicKey::Ed25519(public.bytes().to_vec()))
}

/// Who signs metadata with a key of `keys.toml`.
#[derive(Debug, Clone)]
pub struct Hand {
    signer: Rc<dyn Signer>,
}

impl Hand {
    /// That of a signer.
    pub fn new(signer: Rc<dyn Signer>) -> Self {
        Self { signer }
    }
}

impl tuf::Signer for Hand {
    type Error = Error;

    fn key(&self) -> tuf::Key {
        of_metadata(self.signer.public())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.signer.sign(message).map(|signature| signature.0.to_vec())
    }
}

/// A `keys.toml` and the keys that it leads to. A key is opened when it is wanted, and once.
#[derive(Debug)]
pub struct Keyring<'a> {
    /// What the file says.
    pub roles: Roles,
    /// Where it lies, and the roots with it.
    pub directory: PathBuf,
    source: Source,
    progress: &'a Progress,
    opened: BTreeMap<Name, Option<Hand>>,
}

impl<'a> Keyring<'a> {
    /// Reads a `keys.toml`, or that of a directory. `source` is asked for passphrases.
    ///
    /// # Errors
    /// Those of [`Roles::load`].
    pub fn load(path: &Path, source: Source, progress: &'a Progress) -> Result<Self> {
        let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let roles = Roles::load(&file)?;
        let directory = durable::parent(&file).to_owned();
        Ok(Self { roles, directory, source, progress, opened: BTreeMap::new() })
    }

    /// Those that are here of the keys with these names in metadata.
    ///
    /// # Errors
    /// Those of [`signer`].
    pub fn hands<'i>(
        &mut self,
        ids: impl IntoIterator<Item = &'i KeyId>,
    ) -> Result<Vec<(Name, Hand)>> {
        let ids: Vec<_> = ids.into_iter().collect();
        let wanted = |public| ids.contains(&&of_metadata(public).id());
        let keys = self.roles.keys().iter().filter(|(_, key)| wanted(&key.public));
        let mut hands = Vec::new();
        for (name, key) in keys {
            if !self.opened.contains_key(name) {
                let signer = signer(name, key, &self.directory, &self.source, self.progress)?;
                let hand = signer.map(|signer| Hand::new(signer.into()));
                self.opened.insert(name.clone(), hand);
            }
            hands.extend(self.opened[name].clone().map(|hand| (name.clone(), hand)));
        }
        Ok(hands)
    }

    /// Tells whoever signs.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.progress.warn(text);
    }

    /// Whether a key of this name is here.
    pub fn is_here(&self, name: &Name) -> bool {
        self.roles.keys().get(name).is_some_and(|key| match &key.holder {
            Holder::File(file) => self.directory.join(file).exists(),
            Holder::Command(_) => true,
            Holder::Elsewhere => false,
        })
    }

    /// What a key of metadata is called here.
    pub fn name(&self, id: &str) -> Option<&Name> {
        let keys = self.roles.keys().iter();
        keys.filter(|(_, key)| of_metadata(&key.public).id() == id).map(|(name, _)| name).next()
    }
}

/// The keys that a role is to have, and how many of them must sign.
pub fn keys_of(roles: &Roles, role: Role) -> (Vec<tuf::Key>, u64) {
    let Signing { threshold, keys, .. } = roles.role(role);
    let keys = keys.iter().map(|name| of_metadata(&roles.keys()[name].public)).collect();
    (keys, u64::from(*threshold))
}
