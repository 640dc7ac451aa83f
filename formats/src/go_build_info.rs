//! What Go's linker writes into every program: the toolchain, and each module with version and
//! checksum. It is what is *in* the program, which `go.mod` only wishes for.
//!
//! The format is that of Go's `debug/buildinfo` and `runtime/debug.BuildInfo`, both of its forms:
//! inline since Go 1.18, by pointers before. `go version -m` is the judge. Where a program has its
//! data is for others to say ([`Memory`]); nothing here knows of ELF.
//! <https://pkg.go.dev/debug/buildinfo>

use std::fmt;

/// What the record begins with, at a multiple of [`ALIGN`].
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGN: u64 = 16;
const HEADER: u64 = 32;
/// Texts that stand before and after the list of modules, so that it can be found in memory.
const SENTINEL: usize = 16;
/// Flags of the header: the texts follow it; its pointers are big-endian.
const INLINE: u8 = 2;
const BIG_ENDIAN: u8 = 1;
/// A list of modules has some hundred lines.
const MOST: u64 = 16 << 20;

/// Where a program's data is, by the addresses that it has when it runs.
pub trait Memory {
    /// Address and size of the section or segment that holds the record, if there may be one.
    fn data(&self) -> Option<(u64, u64)>;

    /// Up to `size` bytes at `address`: fewer if the segment ends, none if nothing is there.
    fn read(&self, address: u64, size: u64) -> &[u8];
}

/// What a program says of its making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// Such as `go1.26.1`; with what follows it, such as ` X:nocoverageredesign`.
    pub go: String,
    /// The import path of the package `main`; empty if the program says no more than its toolchain.
    pub path: String,
    /// The module that the build was started in.
    pub main: Option<Module>,
    /// All other modules that something of was linked, in order.
    pub modules: Vec<Module>,
    /// `KEY=VALUE`, as they are written: what is no plain word is in quotes.
    pub settings: Vec<String>,
}

/// A module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its path, such as `golang.org/x/net`.
    pub path: String,
    /// Its version, `(devel)` of one that has none.
    pub version: String,
    /// `h1:` and the digest of its files; empty if it is not checked.
    pub sum: String,
    /// What stands in for it by a `replace` line.
    pub replace: Option<Box<Module>>,
}

impl Module {
    /// The module whose code it is.
    pub fn effective(&self) -> &Self {
        self.replace.as_deref().map_or(self, Self::effective)
    }
}

/// Why a record cannot be read. A program without one is no error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildInfoError {
    /// A text is not UTF-8, or leaves the segment.
    #[error("its texts are cut short, or none")]
    Text,
    /// A line of the list of modules is not as Go writes it.
    #[error("line {0} of its modules is not as Go writes it")]
    Line(usize),
}

impl BuildInfo {
    /// Reads the record of a program: `None` if it is none of Go's.
    ///
    /// # Errors
    /// See [`BuildInfoError`].
    pub fn find(memory: &impl Memory) -> Result<Option<Self>, BuildInfoError> {
        let Some(address) = search(memory) else { return Ok(None) };
        let header = memory.read(address, HEADER);
        let (Some(size), Some(flags)) = (header.get(14), header.get(15)) else { return Ok(None) };
        let (go, modules) = if flags & INLINE != 0 {
            let (go, after) = inline(memory, address + HEADER)?;
            (go, inline(memory, after)?.0)
        } else {
            let pointers = Pointers { size: *size, big: flags & BIG_ENDIAN != 0 };
            let Some(width) = pointers.width() else { return Ok(None) };
            let text = |at| pointers.text(memory, pointers.read(header.get(at..).unwrap_or(&[]))?);
            let lost = BuildInfoError::Text;
            (text(16).ok_or(lost.clone())?, text(16 + width).ok_or(lost)?)
        };
        if go.is_empty() {
            return Ok(None);
        }
        let modules = match modules.len().checked_sub(SENTINEL) {
            Some(end) if end > SENTINEL && modules[end - 1] == b'\n' => &modules[SENTINEL..end],
            _ => &[],
        };
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| BuildInfoError::Text);
        Ok(Some(Self { go: text(go)?.to_owned(), ..Self::parse(text(modules)?)? }))
    }

    /// Reads the list of modules. The toolchain is not in it.
    ///
    /// # Errors
    /// [`BuildInfoError::Line`].
    pub fn parse(text: &str) -> Result<Self, BuildInfoError> {
        let mut info = Self::default();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let wrong = || BuildInfoError::Line(number + 1);
            // Go passes over a last line without an end, and over words that it does not know.
            let Some(line) = line.strip_suffix('\n') else { break };
            match line.split_once('\t') {
                Some(("path", path)) => path.clone_into(&mut info.path),
                Some(("mod", rest)) => info.main = Some(Module::parse(rest).ok_or_else(wrong)?),
                Some(("dep", rest)) => info.modules.push(Module::parse(rest).ok_or_else(wrong)?),
                Some(("=>", rest)) => {
                    let other = Module::parse(rest).ok_or_else(wrong)?;
                    let before = info.modules.last_mut().or(info.main.as_mut());
                    let before = before.filter(|module| module.replace.is_none());
                    before.ok_or_else(wrong)?.replace = Some(Box::new(other));
                }
                Some(("build", rest)) if rest.find('=').is_some_and(|at| at > 0) => {
                    info.settings.push(rest.to_owned());
                }
                Some(("build", _)) => return Err(wrong()),
                _ => {}
            }
        }
        Ok(info)
    }

    /// The value of a setting that is a plain word, such as `GOARCH`.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

impl Module {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('\t').map(str::to_owned);
        let (path, version, sum) = (words.next()?, words.next()?, words.next());
        let end = words.next().is_none();
        end.then(|| Self { path, version, sum: sum.unwrap_or_default(), replace: None })
    }
}

/// As `go version -m` prints it, without the file's name.
impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.go)?;
        if !self.path.is_empty() {
            writeln!(f, "\tpath\t{}", self.path)?;
        }
        let mut module = |word: &str, mut module: &Module| {
            write!(f, "\t{word}\t{}\t{}", module.path, module.version)?;
            while let Some(other) = &module.replace {
                write!(f, "\n\t=>\t{}\t{}", other.path, other.version)?;
                module = other;
            }
            writeln!(f, "\t{}", module.sum)
        };
        self.main.iter().try_for_each(|main| module("mod", main))?;
        self.modules.iter().try_for_each(|one| module("dep", one))?;
        self.settings.iter().try_for_each(|setting| writeln!(f, "\tbuild\t{setting}"))
    }
}

/// The address of the record.
fn search(memory: &impl Memory) -> Option<u64> {
    let (start, size) = memory.data()?;
    let end = start.checked_add(size)?;
    let mut at = start.checked_next_multiple_of(ALIGN)?;
    let data = memory.read(at, end.checked_sub(at)?);
    for piece in data.chunks_exact(16) {
        if piece.starts_with(MAGIC) {
            return (end - at >= HEADER).then_some(at);
        }
        at += ALIGN;
    }
    None
}

/// A text that its length stands before, and the address behind it.
fn inline(memory: &impl Memory, address: u64) -> Result<(&[u8], u64), BuildInfoError> {
    let text = || {
        let (length, width) = varint(memory.read(address, 10))?;
        let at = address.checked_add(width)?;
        let bytes = memory.read(at, Some(length).filter(|length| *length <= MOST)?);
        (bytes.len() as u64 == length).then_some((bytes, at + length))
    };
    // An empty text may stand at the end of the segment, where nothing can be read.
    text().ok_or(BuildInfoError::Text)
}

/// A number in groups of seven bits, the least first.
fn varint(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, index as u64 + 1));
        }
    }
    None
}

/// How a program of Go before 1.18 points.
struct Pointers {
    size: u8,
    big: bool,
}

impl Pointers {
    fn width(&self) -> Option<usize> {
        matches!(self.size, 4 | 8).then_some(usize::from(self.size))
    }

    fn read(&self, bytes: &[u8]) -> Option<u64> {
        Some(match (bytes.get(..self.width()?)?, self.big) {
            (&[a, b, c, d], true) => u64::from(u32::from_be_bytes([a, b, c, d])),
            (&[a, b, c, d], false) => u64::from(u32::from_le_bytes([a, b, c, d])),
            (bytes, true) => u64::from_be_bytes(bytes.try_into().ok()?),
            (bytes, false) => u64::from_le_bytes(bytes.try_into().ok()?),
        })
    }

    /// The text of a Go string: pointer and length.
    fn text<'m>(&self, memory: &'m impl Memory, address: u64) -> Option<&'m [u8]> {
        let width = self.width()?;
        let header = memory.read(address, 2 * width as u64);
        let (data, length) = (self.read(header)?, self.read(header.get(width..)?)?);
        let bytes = memory.read(data, Some(length).filter(|length| *length <= MOST)?);
        (bytes.len() as u64 == length).then_some(bytes)
    }
}

#[cfg(test)]
mod tests;
