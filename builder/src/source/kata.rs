//! What an image takes of a release of Kata, a component of `url`: the part that reads and writes. What it
//! is follows from the release's own configurations ([`crate::kata`]).

use formats::tree::{Blob, Node, TreePath};

use super::url::{Modes, Wanted, opened};
use crate::archive::Archive;
use crate::error::{Context as _, Error, Id, Result};
use crate::kata::release::{Release, Taken, Unfit};
use crate::kata::{self, CONFIGURATIONS, Handler, containerd};
use crate::progress::Progress;
use crate::recipe::model::{ImagePath, Kata, Url};
use crate::store::Store;

/// The nodes of the release that the hypervisor needs, and those that are made for them: sorted by path,
/// their content in the store. Members that `unpack` of the component names come as well.
///
/// # Errors
/// As [`nodes`](super::url::nodes).
pub fn nodes(
    store: &Store,
    url: &Url,
    kata: &Kata,
    blob: &Blob,
    progress: &Progress,
) -> Result<Vec<(TreePath, Node)>> {
    // All configurations there are: which one it is depends on which ones there are.
    let is_configuration = |path: &str| path.contains(CONFIGURATIONS) && path.ends_with(".toml");
    opened(store, url, blob, progress, &is_configuration, |archive| {
        let mut wanted = Wanted::new(url, archive);
        let taken = taken(archive, url, kata).map_err(|unfit| unfit.error(&wanted))?;
        for (member, ImagePath(at)) in &url.unpack {
            wanted.take(member, at)?;
        }
        for (member, at) in &taken.members {
            wanted.take_as(member, at, Modes::Archive)?;
        }
        let mut nodes = wanted.into_nodes(store)?;
        add_made(&mut nodes, store, kata, &taken)?;
        Ok(nodes)
    })
}

/// Why nothing can be taken.
enum Refused {
    Unfit(Unfit),
    Archive(Error),
}

impl Refused {
    fn error(self, wanted: &Wanted<'_>) -> Error {
        let hint = "releases differ in what they hold: docs/kata.md says which one has what";
        match self {
            Self::Archive(error) => error,
            Self::Unfit(Unfit::Lacks { member, .. }) => wanted.missing(&member).hint(hint),
            Self::Unfit(unfit) => Error::new(Id::ArchiveMember, unfit.to_string()).hint(hint),
        }
    }
}

impl From<Unfit> for Refused {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

fn taken(archive: &Archive<'_>, url: &Url, kata: &Kata) -> std::result::Result<Taken, Refused> {
    let address = url.url.to_string();
    let release = Release { entries: archive.entries(), address: &address };
    let read = |(handler, member): (Handler, String)| {
        let content = archive.content(&member).map_err(Refused::Archive)?;
        let text = content.and_then(|content| String::from_utf8(content).ok());
        let text = text.ok_or_else(|| Unfit::Unreadable {
            configuration: member.clone(),
            release: address.clone(),
            problem: "it is no text of less than a megabyte".to_owned(),
        })?;
        Ok((handler, member, text))
    };
    let configurations = release.configurations(kata)?.into_iter().map(read);
    let configurations = configurations.collect::<std::result::Result<Vec<_>, Refused>>()?;
    Ok(release.taken(kata, &configurations)?)
}

/// Adds what is made, in the place of a member that went there.
fn add_made(
    nodes: &mut Vec<(TreePath, Node)>,
    store: &Store,
    kata: &Kata,
    taken: &Taken,
) -> Result<()> {
    let mut files = taken.made.clone();
    let drop_in = containerd::drop_in(kata, &taken.configurations);
    files.insert(kata::known(containerd::PATH), drop_in);
    let facts = serde_json::to_string(&kata::facts(kata)).or_fail(Id::Bug, || "facts of Kata")?;
    files.insert(kata::known(formats::kata::PATH), facts + "\n");
    nodes.retain(|(path, _)| !files.contains_key(path));
    for (path, text) in files {
        nodes.push((path, Node::file(store.put_bytes(text.as_bytes())?, 0o644)));
    }
    let links = taken.links.iter();
    nodes.extend(links.map(|(path, target)| (path.clone(), Node::symlink(target))));
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(())
}

#[cfg(test)]
mod tests;
