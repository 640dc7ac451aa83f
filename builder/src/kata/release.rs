//! What an image takes of a release: the shim, the configuration of each handler, and what that names. The
//! configuration decides, not a list of ours, so a release that calls its guest otherwise is taken as well;
//! one that lacks what its own configuration names is refused here, and not by the first pod.
//!
//! Format: the tar of `kata-static-*`, everything below `opt/kata`; configurations of the shim in Rust.

use std::collections::{BTreeMap, BTreeSet};

use formats::tree::TreePath;
use toml::Table;

use super::{CONFIGURATIONS, Handler, SHIM, handlers, placed};
use crate::archive::{self, Entry};
use crate::recipe::model::{Guest, Hypervisor, Kata, UPSTREAM};

/// Below which the release has everything.
const TOP: &str = "opt/kata";

/// Keys of a hypervisor's table that name files of the release.
const FILES: [&str; 8] = [
    "path",
    "kernel",
    "image",
    "initrd",
    "firmware",
    "firmware_volume",
    "virtio_fs_daemon",
    "jailer_path",
];

/// Begins the names of files that QEMU has for other machines, or for firmware that a guest here is not
/// started by.
const FOREIGN: [&str; 25] = [
    "QEMU,",
    "bamboo",
    "canyonlands",
    "edk2-",
    "hppa-",
    "npcm",
    "openbios",
    "opensbi",
    "palcode",
    "petalogix",
    "pnv-",
    "ast27x0",
    "qemu-nsis",
    "qemu_vga.ndrv",
    "s390-",
    "skiboot",
    "slof",
    "trace-events",
    "u-boot",
    "vof",
    "vgabios",
    "pxe-",
    "efi-e1000",
    "efi-vmxnet",
    "efi-eepro",
];

/// What the shim is told of its guests beside the release's own file, where that cannot be left as it is.
const FORCED: &str = "config.d/10-orlop.toml";

/// Why a release does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It lacks a file.
    #[error("there is no `{member}` in `{release}`")]
    Lacks {
        /// The file.
        member: String,
        /// The address of the release.
        release: String,
    },
    /// A configuration names a file that is not there.
    #[error(
        "`{configuration}` in `{release}` names `{file}` as `{key}`, and the release has no such file"
    )]
    Names {
        /// The configuration.
        configuration: String,
        /// The address of the release.
        release: String,
        /// What it names.
        file: String,
        /// By which key.
        key: &'static str,
    },
    /// A configuration cannot be read.
    #[error("`{configuration}` in `{release}` is no configuration of Kata: {problem}")]
    Unreadable {
        /// The configuration.
        configuration: String,
        /// The address of the release.
        release: String,
        /// Why not.
        problem: String,
    },
}

/// A release, its list of members read.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// What it holds, by path.
    pub entries: &'a BTreeMap<String, Entry>,
    /// Its address.
    pub address: &'a str,
}

/// What is taken of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// By member the path in the image.
    pub members: BTreeMap<String, TreePath>,
    /// Files that are made instead of, or beside, those of the release.
    pub made: BTreeMap<TreePath, String>,
    /// Links that are made.
    pub links: BTreeMap<TreePath, String>,
    /// By handler the absolute path of its configuration.
    pub configurations: Vec<(Handler, String)>,
}

impl Release<'_> {
    /// The configuration of each handler, as a member.
    ///
    /// # Errors
    /// [`Unfit::Lacks`].
    pub fn configurations(&self, kata: &Kata) -> Result<Vec<(Handler, String)>, Unfit> {
        let member = |name: &&str| format!("{TOP}/{CONFIGURATIONS}/{name}");
        let found = |handler: Handler| {
            let mut names = handler.configurations.iter().map(member);
            let newest = names.clone().next().unwrap_or_default();
            match names.find(|member| matches!(self.leads_to(member), Some(Entry::File { .. }))) {
                Some(member) => Ok((handler, member)),
                None => Err(self.lacks(newest)),
            }
        };
        handlers(kata).into_iter().map(found).collect()
    }

    /// What is taken, when the texts of the configurations are known, in the order of
    /// [`Release::configurations`].
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn taken(
        &self,
        kata: &Kata,
        configurations: &[(Handler, String, String)],
    ) -> Result<Taken, Unfit> {
        let mut members = BTreeSet::from([format!("{TOP}/{SHIM}")]);
        let mut made = BTreeMap::new();
        let mut placed_configurations = Vec::new();
        for (handler, configuration, text) in configurations {
            members.insert(configuration.clone());
            for (key, file) in self.named(kata, configuration, text)? {
                let member = file.trim_start_matches('/').to_owned();
                if !matches!(self.leads_to(&member), Some(Entry::File { .. })) {
                    return Err(Unfit::Names {
                        configuration: configuration.clone(),
                        release: self.address.to_owned(),
                        file,
                        key,
                    });
                }
                if key == "path" && kata.hypervisor == Hypervisor::Qemu {
                    members.extend(self.beside_qemu(&member)?);
                }
                members.insert(member);
            }
            let at = in_image(kata, configuration);
            if kata.at.0.to_string() != UPSTREAM {
                made.insert(at.clone(), moved(kata, text));
            }
            placed_configurations.push((handler.clone(), at.to_string()));
        }
        if let Some(member) = members.iter().find(|member| self.leads_to(member).is_none()) {
            return Err(self.lacks(member.clone()));
        }
        if kata.guest == Guest::Confidential {
            let at = super::known(&placed(kata, &format!("{CONFIGURATIONS}/{FORCED}")));
            // Nothing of the host is seen in such a guest, so its images cannot come from there.
            let text = "# The guest pulls its images itself.\n[runtime]\n\
                        experimental = [\"force_guest_pull\"]\n";
            made.insert(at, text.to_owned());
        }
        Ok(Taken {
            members: members
                .into_iter()
                .map(|member| {
                    let at = in_image(kata, &member);
                    (member, at)
                })
                .collect(),
            made,
            links: links(kata),
            configurations: placed_configurations,
        })
    }

    /// The files of the release that a configuration names, each with its key.
    fn named(
        &self,
        kata: &Kata,
        configuration: &str,
        text: &str,
    ) -> Result<Vec<(&'static str, String)>, Unfit> {
        let unreadable = |problem: String| Unfit::Unreadable {
            configuration: configuration.to_owned(),
            release: self.address.to_owned(),
            problem,
        };
        let table: Table =
            toml::from_str(text).map_err(|error| unreadable(error.message().to_owned()))?;
        let hypervisors = table.get("hypervisor").and_then(toml::Value::as_table);
        let mut tables = hypervisors.into_iter().flat_map(|all| all.values());
        let hypervisor = tables.find_map(toml::Value::as_table);
        let hypervisor = hypervisor
            .ok_or_else(|| unreadable("it has no table `[hypervisor.NAME]`".to_owned()))?;
        let text_of = |key: &str| hypervisor.get(key).and_then(toml::Value::as_str).unwrap_or("");
        // Dragonball serves files itself, and a confidential guest sees none of the host's.
        let serves_files = text_of("shared_fs").starts_with("virtio-fs");
        let counts = |key: &str| match key {
            "virtio_fs_daemon" => serves_files,
            "path" => kata.hypervisor != Hypervisor::Dragonball,
            _ => true,
        };
        let named = FILES.into_iter().filter(|key| counts(key)).map(|key| (key, text_of(key)));
        let named: Vec<_> = named.filter(|(_, file)| !file.is_empty()).collect();
        for key in ["kernel", "path"] {
            if counts(key) && !named.iter().any(|(known, _)| *known == key) {
                return Err(unreadable(format!("it names no `{key}`")));
            }
        }
        if !named.iter().any(|(key, _)| ["image", "initrd"].contains(key)) {
            return Err(unreadable("it names neither `image` nor `initrd`".to_owned()));
        }
        Ok(named.into_iter().map(|(key, file)| (key, file.to_owned())).collect())
    }

    /// What QEMU reads of itself: firmware and option ROMs of machines that Kata makes.
    fn beside_qemu(&self, program: &str) -> Result<Vec<String>, Unfit> {
        // Others of a release lie in a directory of the same ending: `kata-qemu-snp-experimental`.
        let name = program.rsplit('/').next().unwrap_or_default();
        let machine = name.trim_start_matches("qemu-system-").split_once('-');
        let ending = machine.map(|(_, ending)| format!("-{ending}")).unwrap_or_default();
        let directory = format!("{TOP}/share/kata-qemu{ending}/qemu/");
        let inside = self.entries.range(directory.clone()..);
        let inside = inside.take_while(|(path, _)| path.starts_with(&directory));
        let files = inside.filter(|(path, entry)| {
            let name = &path[directory.len()..];
            !matches!(entry, Entry::Directory)
                && !name.contains('/')
                && !FOREIGN.iter().any(|foreign| name.starts_with(foreign))
        });
        let files: Vec<_> = files.map(|(path, _)| path.clone()).collect();
        if files.is_empty() {
            Err(self.lacks(format!("{directory}bios-256k.bin")))
        } else {
            Ok(files)
        }
    }

    /// What stands at the end of links, of which only those within the release count.
    fn leads_to(&self, member: &str) -> Option<&Entry> {
        let mut member = member.to_owned();
        for _ in 0..archive::MAX_LINKS {
            match self.entries.get(&member)? {
                Entry::Symlink(target) => member = archive::link(&member, target)?,
                entry => return Some(entry),
            }
        }
        None
    }

    fn lacks(&self, member: String) -> Unfit {
        Unfit::Lacks { member, release: self.address.to_owned() }
    }
}

/// Where a member goes.
fn in_image(kata: &Kata, member: &str) -> TreePath {
    let inner = member.strip_prefix(TOP).unwrap_or(member).trim_start_matches('/');
    super::known(&placed(kata, inner))
}

/// A configuration whose files lie elsewhere. Only whole paths are changed: what follows the name of the
/// place must be another part or the end of the text.
fn moved(kata: &Kata, text: &str) -> String {
    let at = kata.at.0.to_string();
    text.replace(&format!("{UPSTREAM}/"), &format!("{at}/"))
        .replace(&format!("\"{UPSTREAM}\""), &format!("\"{at}\""))
}

/// Upstream's QEMU looks for its firmware at the place that it was built for, unless it finds that below
/// this directory beside itself.
fn links(kata: &Kata) -> BTreeMap<TreePath, String> {
    let moved = kata.at.0.to_string() != UPSTREAM;
    let needed = moved && kata.hypervisor == Hypervisor::Qemu;
    let link = (
        super::known(&placed(kata, &format!("bin/qemu-bundle{UPSTREAM}/share"))),
        "../../../../share".to_owned(),
    );
    needed.then_some(link).into_iter().collect()
}
