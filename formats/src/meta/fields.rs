//! The fields of a record: a tag, a length, a value. A reader keeps what it does not know, unless the
//! tag's highest bit says that it must be understood.

use super::{
    Failed, Fallback, MOST_FAILED, MOST_REASON, MOST_VERSION, Meta, MetaError, Method, Phase,
    Release, Staged, Trial, shortened,
};
use crate::boot_entries::Slot;
use crate::digest::Sha256;
use crate::le::{array_at, u16_at};

const EPOCH: u16 = 1;
const GOOD: u16 = 2;
const FAILED: u16 = 3;
const STAGED: u16 = 4;
const TRIAL: u16 = 5;
const FALLBACK: u16 = 6;
/// A reader that does not know such a field reads nothing.
const MUST_BE_KNOWN: u16 = 1 << 15;

/// A field that only a later updater knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    tag: u16,
    value: Vec<u8>,
}

pub(super) fn encode(meta: &Meta) -> Vec<u8> {
    let mut fields = Vec::new();
    let mut add = |tag: u16, value: &[u8]| {
        // Values are bounded by what they are made of; those of others came with 16 bits.
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        fields.extend(tag.to_le_bytes());
        fields.extend(length.to_le_bytes());
        fields.extend(value);
    };
    add(EPOCH, &meta.epoch.to_le_bytes());
    for slot in Slot::BOTH {
        if let Some(release) = meta.good(slot) {
            add(GOOD, &Value::default().slot(slot).release(release).0);
        }
    }
    for Failed { version, root_hash, time, reason } in meta.failed.iter().take(MOST_FAILED) {
        add(FAILED, &Value::default().told(version, root_hash, *time, reason).0);
    }
    if let Some(Staged { slot, release, attempts }) = &meta.staged {
        add(STAGED, &Value::default().slot(*slot).release(release).number(*attempts).0);
    }
    if let Some(Trial { slot, release, since, attempts, method, phase }) = &meta.trial {
        let value = Value::default().slot(*slot).release(release).time(*since).number(*attempts);
        add(TRIAL, &value.method(*method).phase(phase).0);
    }
    if let Some(Fallback { version, root_hash, time, reason }) = &meta.fallback {
        add(FALLBACK, &Value::default().told(version, root_hash, *time, reason).0);
    }
    for Unknown { tag, value } in &meta.unknown {
        add(*tag, value);
    }
    fields
}

pub(super) fn decode(mut fields: &[u8]) -> Result<Meta, MetaError> {
    let mut meta = Meta::default();
    while !fields.is_empty() {
        let head = u16_at(fields, 0).zip(u16_at(fields, 2));
        let (tag, length) = head.ok_or(MetaError::Content("field"))?;
        let end = 4 + usize::from(length);
        let value = fields.get(4..end).ok_or(MetaError::Content("field"))?;
        fields = &fields[end..];
        let mut parts = Parts(value);
        match tag {
            EPOCH => meta.epoch = parts.u64().ok_or(MetaError::Content("epoch"))?,
            GOOD => {
                let good = parts.slot().zip(parts.release());
                let (slot, release) = good.ok_or(MetaError::Content("good release"))?;
                meta.good[slot.index()] = Some(release);
            }
            FAILED => {
                let (version, root_hash, time, reason) =
                    parts.told().ok_or(MetaError::Content("failed release"))?;
                meta.failed.push(Failed { version, root_hash, time, reason });
            }
            STAGED => {
                meta.staged = Some(parts.staged().ok_or(MetaError::Content("staged release"))?)
            }
            TRIAL => meta.trial = Some(parts.trial().ok_or(MetaError::Content("trial"))?),
            FALLBACK => {
                let (version, root_hash, time, reason) =
                    parts.told().ok_or(MetaError::Content("fall-back"))?;
                meta.fallback = Some(Fallback { version, root_hash, time, reason });
            }
            _ if tag & MUST_BE_KNOWN != 0 => return Err(MetaError::Field(tag & !MUST_BE_KNOWN)),
            _ => {
                meta.unknown.push(Unknown { tag, value: value.to_vec() });
                parts = Parts(&[]);
            }
        }
        // A later form of a known field has a new tag.
        if !parts.0.is_empty() {
            return Err(MetaError::Content("length of a field"));
        }
    }
    if meta.failed.len() > MOST_FAILED {
        return Err(MetaError::Content("number of failed releases"));
    }
    Ok(meta)
}

/// A value that is put together.
#[derive(Default)]
struct Value(Vec<u8>);

impl Value {
    fn add(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn slot(self, slot: Slot) -> Self {
        self.add(&[u8::from(slot == Slot::B)])
    }

    fn number(self, number: u32) -> Self {
        self.add(&number.to_le_bytes())
    }

    fn time(self, time: u64) -> Self {
        self.add(&time.to_le_bytes())
    }

    /// A length of one byte, and text of at most so many.
    fn text(self, text: &str, most: usize) -> Self {
        let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let text = &text[..end.unwrap_or(0)];
        self.add(&[u8::try_from(text.len()).unwrap_or(u8::MAX)]).add(text.as_bytes())
    }

    fn release(self, release: &Release) -> Self {
        let Release { version, root_hash, uki, epoch } = release;
        self.add(root_hash.as_bytes()).add(uki.as_bytes()).time(*epoch).text(version, MOST_VERSION)
    }

    fn told(self, version: &str, root_hash: &Sha256, time: u64, reason: &str) -> Self {
        let value = self.add(root_hash.as_bytes()).time(time).text(version, MOST_VERSION);
        value.text(&shortened(reason), MOST_REASON)
    }

    fn method(self, method: Method) -> Self {
        self.add(&[match method {
            Method::OneShot => 0,
            Method::Counted => 1,
            Method::Kexec => 2,
            Method::Chosen => 3,
        }])
    }

    fn phase(self, phase: &Phase) -> Self {
        match phase {
            Phase::Arming => self.add(&[0]),
            Phase::Armed => self.add(&[1]),
            Phase::Begun => self.add(&[2]),
            Phase::Interrupted => self.add(&[3]),
            Phase::Unhealthy(reason) => self.add(&[4]).text(&shortened(reason), MOST_REASON),
            Phase::Healthy => self.add(&[5]),
        }
    }
}

/// A value that is taken apart from the front.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = array_at(self.0, 0)?;
        self.0 = &self.0[N..];
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Sha256> {
        self.array().map(Sha256::from_bytes)
    }

    fn text(&mut self, most: usize) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.0.get(..length)?).ok()?;
        let shown = length <= most && !text.contains(char::is_control);
        self.0 = &self.0[length..];
        shown.then(|| text.to_owned())
    }

    fn slot(&mut self) -> Option<Slot> {
        match self.byte()? {
            0 => Some(Slot::A),
            1 => Some(Slot::B),
            _ => None,
        }
    }

    fn release(&mut self) -> Option<Release> {
        let (root_hash, uki, epoch) = (self.digest()?, self.digest()?, self.u64()?);
        Some(Release { version: self.text(MOST_VERSION)?, root_hash, uki, epoch })
    }

    fn told(&mut self) -> Option<(String, Sha256, u64, String)> {
        let (root_hash, time) = (self.digest()?, self.u64()?);
        Some((self.text(MOST_VERSION)?, root_hash, time, self.text(MOST_REASON)?))
    }

    fn staged(&mut self) -> Option<Staged> {
        let (slot, release) = (self.slot()?, self.release()?);
        Some(Staged { slot, release, attempts: self.u32()? })
    }

    fn trial(&mut self) -> Option<Trial> {
        let (slot, release) = (self.slot()?, self.release()?);
        let (since, attempts) = (self.u64()?, self.u32()?);
        let method = match self.byte()? {
            0 => Method::OneShot,
            1 => Method::Counted,
            2 => Method::Kexec,
            3 => Method::Chosen,
            _ => return None,
        };
        let phase = match self.byte()? {
            0 => Phase::Arming,
            1 => Phase::Armed,
            2 => Phase::Begun,
            3 => Phase::Interrupted,
            4 => Phase::Unhealthy(self.text(MOST_REASON)?),
            5 => Phase::Healthy,
            _ => return None,
        };
        Some(Trial { slot, release, since, attempts, method, phase })
    }
}
