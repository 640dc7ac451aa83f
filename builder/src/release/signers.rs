//! Who signs a new state. Where a root is new, readers go by the one before until they have seen it: so the
//! keys of both sign, if they are here, and whoever looks at any moment verifies what is there.

use formats::tuf::{Reason, Root, Trusted};

use super::refused;
use crate::error::{Error, Id, Result};
use crate::keys::keyring::{Hand, Keyring};
use crate::keys::roles::Role;
use crate::keys::roots::Roots;

/// Whether new roots come before the timestamp or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The timestamp is good under the roots before too: a reader may know them or not.
    RootsLast,
    /// It is not, because keys that were are not here: readers between the two writes refuse what is there.
    RootsFirst,
}

/// Who signs for a role.
#[derive(Debug)]
pub(super) struct Signers {
    hands: Vec<Hand>,
    /// See [`Order`].
    pub(super) order: Order,
}

impl Signers {
    /// All of them.
    pub(super) fn hands(&self) -> Vec<&Hand> {
        self.hands.iter().collect()
    }

    /// Those of the last root, as many as must; and of the roots that readers may go by, from the one at
    /// `known` on, whoever is here.
    ///
    /// # Errors
    /// [`Id::Signatures`] if there are too few of the last root; those of opening keys.
    pub(super) fn of(
        keyring: &mut Keyring<'_>,
        roots: &Roots,
        known: Option<usize>,
        role: Role,
    ) -> Result<Self> {
        let keys = roots.last.role(role.of_metadata());
        let last: Vec<_> = keyring.hands(&keys.ids)?;
        if (last.len() as u64) < keys.threshold {
            let (have, want) = (last.len(), keys.threshold);
            let message = format!("{have} of the {want} keys that must sign for `{role}` are here");
            return Err(Error::new(Id::Signatures, message)
                .hint("`orlop keys show` says where each key is"));
        }
        let mut signers = Self {
            hands: last.into_iter().map(|(_, hand)| hand).collect(),
            order: Order::RootsLast,
        };
        let mut asked = keys.ids.clone();
        for root in &roots.files[known.unwrap_or(roots.files.len()).min(roots.files.len())..] {
            let root: Root = read(root)?;
            let keys = root.role(role.of_metadata());
            for id in keys.ids.iter().filter(|id| asked.insert((*id).clone())) {
                match keyring.hands([id]) {
                    Ok(hands) => signers.hands.extend(hands.into_iter().map(|(_, hand)| hand)),
                    // A passphrase that is lost may be why it was replaced.
                    Err(error) => keyring
                        .warn(format!("a key that `{role}` had is not used: {}", error.chain())),
                }
            }
            if signers.keys_of(&root, role) < keys.threshold {
                signers.order = Order::RootsFirst;
            }
        }
        Ok(signers)
    }

    /// How many of the keys that a root gives a role sign.
    fn keys_of(&self, root: &Root, role: Role) -> u64 {
        let ids = &root.role(role.of_metadata()).ids;
        let ours = self.hands.iter().filter(|hand| {
            let id = formats::tuf::Signer::key(*hand).id();
            ids.contains(&id)
        });
        ours.count() as u64
    }
}

fn read(root: &[u8]) -> Result<Root> {
    let trusted = Trusted::new(root, i64::MIN);
    let trusted = trusted.map_err(|reason: Reason| refused(reason.of("root.json")))?;
    Ok(trusted.root().clone())
}
