//! The records of `META` on a device. Each store writes one record and flushes it before it begins the
//! other one, so that at any moment one of them is whole.

use std::io;

use formats::meta::{Found, Meta, MetaError, OFFSETS, RECORD, choose};

use crate::device::Device;

/// Why the records were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The device fails.
    #[error("cannot {what} META")]
    Io {
        /// Read or write.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What stands there, or should, is not right.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// What stands in `META`.
#[derive(Debug, Clone)]
pub struct Store {
    found: Found,
}

impl Store {
    /// Reads both records. One that the device does not give is no more than damaged: the next write
    /// begins with it, by which many disks mend what they cannot read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn read(device: &impl Device) -> Result<Self, StoreError> {
        let mut records = [vec![0; RECORD], vec![0; RECORD]];
        let mut unread = None;
        for (record, offset) in records.iter_mut().zip(OFFSETS) {
            let Err(source) = device.read_at(offset, record) else { continue };
            // Not zeros, which a new disk has.
            record.fill(0xFF);
            if unread.replace(StoreError::Io { what: "read", source }).is_some() {
                break;
            }
        }
        let [one, two] = &records;
        if let Some(unread) = unread.filter(|_| choose([one, two]).is_err()) {
            return Err(unread);
        }
        Ok(Self { found: choose([one, two])? })
    }

    /// What is remembered.
    pub fn meta(&self) -> &Meta {
        &self.found.meta
    }

    /// Whether nothing was ever written.
    pub fn is_new(&self) -> bool {
        self.found.is_new()
    }

    /// In place of what cannot be read: the next [`Self::write`] begins anew.
    pub(crate) fn anew() -> Self {
        let found = Found { meta: Meta::default(), sequence: 0, newest: 1, mirrored: false };
        Self { found }
    }

    /// Remembers `meta`: on the disk when this returns. Writes nothing if both records say so already.
    ///
    /// # Errors
    /// See [`StoreError`]. What was remembered before is then still there, or `meta` is.
    pub fn write(&mut self, device: &mut impl Device, meta: &Meta) -> Result<(), StoreError> {
        if self.found.mirrored && self.found.meta == *meta {
            return Ok(());
        }
        let sequence = self.found.sequence.saturating_add(1);
        let record = meta.record(sequence)?;
        // The older one first. If that fails it stays the older one, and the next store writes it again.
        let order = [1 - self.found.newest, self.found.newest];
        for at in order {
            device
                .write_at(OFFSETS[at], &record)
                .and_then(|()| device.flush())
                .map_err(|source| StoreError::Io { what: "write", source })?;
            let mirrored = at == order[1];
            self.found = Found { meta: meta.clone(), sequence, newest: order[0], mirrored };
        }
        Ok(())
    }
}
