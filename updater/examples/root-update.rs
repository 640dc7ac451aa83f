//! How a root image comes of another one, from file to file, so that time and memory of it can be
//! measured:
//!
//! ```text
//! root-update delta OLD-RELEASE OLD NEW-RELEASE FILE.delta OUT
//! root-update blocks OLD-RELEASE OLD NEW-RELEASE ROOT.zst ROOT.tree.zst
//! ```
//!
//! The releases are their `release.json`, `OLD` is the data of the old image. `delta` writes data and
//! hash tree to `OUT` and has refused what does not have the root hash of the new release; `blocks` says
//! what would be fetched, as JSON. Nothing is verified but images: metadata is not its subject.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use formats::blocks::{Have, REQUEST, plan};
use formats::delta::apply;
use formats::digest::Sha256;
use formats::incoming::{Image, Root, Slot};
use formats::release::Release;
use formats::seekable::{FOOTER, SeekTable, unpack};
use formats::verity::{HashBlock, block_digest, leaves, tree_size};

const BLOCK: usize = 4096;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&Path> = words.iter().map(Path::new).collect();
    let outcome = match words[..] {
        [way, old_release, old, new_release, delta, out] if way == Path::new("delta") => {
            by_delta((old_release, old), new_release, delta, out)
        }
        [way, old_release, old, new_release, packed, tree] if way == Path::new("blocks") => {
            by_blocks((old_release, old), new_release, packed, tree)
        }
        _ => Err(anyhow::anyhow!("use `delta` or `blocks` with five files")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The root image that a release names.
fn root(release: &Path) -> Result<Root> {
    let release = Release::parse(&read(release)?);
    Ok(release?.root()?)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// The image that is there.
struct Old(File);

impl Image for Old {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// A file in the place of a slot: data, and behind them the tree.
struct Place {
    file: File,
    /// Where the tree begins.
    size: u64,
}

impl Slot for Place {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn tree(&mut self, block: &HashBlock) -> io::Result<()> {
        self.file.write_all_at(&block.bytes, self.size + block.offset)
    }
}

fn by_delta((release, old): (&Path, &Path), to: &Path, delta: &Path, out: &Path) -> Result<()> {
    let (from, to) = (root(release)?, root(to)?);
    let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    let slot = Place { file, size: to.size };
    let delta = BufReader::new(open(delta)?);
    let slot = apply(delta, (&from, &Old(open(old)?)), &to, slot)?;
    slot.file.sync_data().context("cannot bring the image to the disk")
}

fn by_blocks(
    (release, old): (&Path, &Path),
    to: &Path,
    packed: &Path,
    packed_tree: &Path,
) -> Result<()> {
    let (from, to) = (root(release)?, root(to)?);
    let (table, _) = table(packed, to.size)?;
    let (frames, tree_file) = self::table(packed_tree, tree_size(to.blocks()))?;
    let mut tree = Vec::new();
    for frame in 0..frames.frames() {
        let (there, held) = (frames.in_file(frame..frame + 1), frames.in_image(frame));
        let mut bytes = vec![0; usize::try_from(there.end - there.start)?];
        tree_file.read_exact_at(&mut bytes, there.start)?;
        tree.extend(unpack(&bytes, u32::try_from(held.end - held.start)?)?);
    }
    let wanted = leaves(&to.salt, &to.hash, to.blocks(), &tree)?;
    let running = digests(&open(old)?, &from, &to.salt)?;
    let plan = plan(&wanted, Have { running: &running, spare: &[] }, &table, REQUEST)?;
    let missing = plan.steps().iter().filter_map(|step| match step {
        formats::blocks::Step::Fetch(blocks) => Some(blocks.end - blocks.start),
        _ => None,
    });
    let (bytes, requests, blocks) = (plan.fetched(), plan.requests().len(), missing.sum::<u64>());
    let told = format!("{{\"bytes\": {bytes}, \"requests\": {requests}, \"blocks\": {blocks}}}\n");
    io::stdout().write_all(told.as_bytes()).context("cannot write the plan")
}

/// The table at the end of a file of frames that hold `size` bytes.
fn table(path: &Path, size: u64) -> Result<(SeekTable, File)> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let end = |bytes: usize| -> Result<Vec<u8>> {
        let Some(start) = length.checked_sub(bytes as u64) else {
            bail!("{} is too short for a table", path.display())
        };
        let mut buffer = vec![0; bytes];
        file.read_exact_at(&mut buffer, start)?;
        Ok(buffer)
    };
    let table = SeekTable::parse(&end(SeekTable::length(&end(FOOTER)?)?)?, length, size)?;
    Ok((table, file))
}

/// What the blocks of an image hash to after another one's salt.
fn digests(image: &File, root: &Root, salt: &[u8]) -> Result<Vec<Sha256>> {
    let mut block = [0; BLOCK];
    let digest = |number: u64| {
        image.read_exact_at(&mut block, number * BLOCK as u64)?;
        Ok(block_digest(salt, &block))
    };
    (0..root.blocks()).map(digest).collect()
}
