//! How an image of a test differs from the one under test: a recipe of its own that extends that one's,
//! with the same lock, so nothing is fetched or asked for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{Orlop, workspace};

/// Which recipe is extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// `recipes/base.toml`.
    Base,
    /// `recipes/node.toml`.
    Node,
}

impl Base {
    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Node => "node",
        }
    }

    /// The directory of the image under test.
    ///
    /// # Errors
    /// There is none.
    pub fn image(self, orlop: &Orlop) -> Result<&Path> {
        match self {
            Self::Base => Ok(orlop.image_directory()),
            Self::Node => orlop.node_image(),
        }
    }
}

/// An image that differs.
#[derive(Debug, Clone)]
pub struct Variant {
    pub(super) base: Base,
    pub(super) version: String,
    /// Another recipe that is extended in the place of the one under test; its lock stands beside it.
    parent: Option<PathBuf>,
    /// Words at the end of the kernel's command line.
    words: Vec<String>,
    /// Modules that the root does without.
    without_modules: Vec<String>,
    /// Files by their paths in the image.
    files: Vec<(String, String)>,
    /// Paths of those that the image has already.
    replaced: Vec<String>,
    /// Whether PID 1 is a program that ends.
    leaves: bool,
    /// What is older in it than in the one under test.
    older: Vec<Older>,
}

/// What an image can have in an older version: that of `cargo xtask bench update`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// containerd and its shim.
    Containerd,
    /// kubelet.
    Kubelet,
}

impl Older {
    /// The component of the recipe.
    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubernetes",
        }
    }
}

/// Where the agent is, which every image of a test has.
const AGENT: &str = "/usr/lib/orlop/test/agent";
const UNIT: &str = "\
exec = [\"/usr/lib/orlop/test/agent\"]
ready = \"started\"
restart = { policy = \"always\", backoff-min = \"200ms\", backoff-max = \"2s\" }
cgroup = \"/agent\"
deadline = \"10s\"
";

impl Variant {
    /// The image with another version, and with the agent.
    pub fn new(base: Base, version: &str) -> Self {
        Self {
            base,
            version: version.to_owned(),
            parent: None,
            words: Vec::new(),
            without_modules: Vec::new(),
            files: vec![("/usr/lib/orlop/units/agent.toml".to_owned(), UNIT.to_owned())],
            replaced: Vec::new(),
            leaves: false,
            older: Vec::new(),
        }
    }

    /// Of another recipe, which extends the one under test; its lock stands beside it.
    #[must_use]
    pub fn of(mut self, recipe: &Path) -> Self {
        self.parent = Some(recipe.to_owned());
        self
    }

    /// The recipe that is extended.
    fn parent(&self) -> PathBuf {
        let own = || workspace().join("recipes").join(self.base.name()).with_extension("toml");
        self.parent.clone().unwrap_or_else(own)
    }

    /// Under another version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// With a word more on the kernel's command line.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.words.push(word.to_owned());
        self
    }

    /// Without a module in its root.
    #[must_use]
    pub fn without_module(mut self, name: &str) -> Self {
        self.without_modules.push(name.to_owned());
        self
    }

    /// With a file that the image does not have.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// With another content of a file that the image has.
    #[must_use]
    pub fn replace(mut self, path: &str, text: &str) -> Self {
        self.replaced.push(path.to_owned());
        self.file(path, text)
    }

    /// With this done by the agent at its start.
    #[must_use]
    pub fn at_start(self, request: &str) -> Self {
        self.file("/usr/lib/orlop/test/at-start", &format!("{request}\n"))
    }

    /// With a PID 1 that ends.
    #[must_use]
    pub fn leaves(mut self) -> Self {
        self.leaves = true;
        self.replaced.push("/usr/lib/orlop/init".to_owned());
        self
    }

    /// With an older version of this, which is fetched and compiled where that was not done before.
    #[must_use]
    pub fn older(mut self, part: Older) -> Self {
        self.older.push(part);
        self
    }

    /// Whether the store may lack something that it is made of.
    pub(super) fn is_to_be_fetched(&self) -> bool {
        !self.older.is_empty()
    }

    /// Writes recipe, lock and files into a new directory, and returns the recipe.
    pub(super) fn write(&self, orlop: &Orlop, directory: &Path) -> Result<PathBuf> {
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        let overlay = directory.join("overlay");
        for (path, text) in &self.files {
            let place = overlay.join(path.trim_start_matches('/'));
            fs::create_dir_all(place.parent().context("a file stands in a directory")?)?;
            fs::write(place, text)?;
        }
        let recipe = directory.join("variant.toml");
        fs::write(&recipe, self.recipe())?;
        // What is asked of the archives is the same, so the lock fits.
        let lock = self.parent().with_extension("lock");
        let copied = fs::copy(&lock, directory.join("variant.lock"));
        copied.with_context(|| format!("there is no lock {}", lock.display()))?;
        // The image must be there that it is a variant of.
        self.base.image(orlop)?;
        Ok(recipe)
    }

    /// The recipe. Its own files are beside it. Its component comes after `init` in the order of names, or
    /// it could not replace what that one gives.
    fn recipe(&self) -> String {
        let (version, parent) = (&self.version, self.parent());
        let agent = workspace().join("qemu-tests/agent");
        let program = if self.leaves { "leave = \"/usr/lib/orlop/init\"\n" } else { "" };
        let mut text = format!(
            "schema = 1\nextends = {parent:?}\n\
             [os]\nversion = {version:?}\n\
             [local.variant-files]\npath = \"overlay\"\nat = \"/\"\n\
             [cargo.variant]\nworkspace = {agent:?}\npackage = \"agent\"\n\
             [cargo.variant.programs]\nagent = {AGENT:?}\n{program}"
        );
        for part in self.older.iter().map(|part| part.name()) {
            let module = workspace().join("xtask/update").join(part);
            text += &format!("[go.{part}]\nmodule = {module:?}\n");
        }
        let lists = [
            ("kernel", "command-line", "add", &self.words),
            ("kernel", "modules", "remove", &self.without_modules),
            ("tree", "replace", "add", &self.replaced),
        ];
        for (table, key, change, list) in lists {
            if !list.is_empty() {
                text += &format!("[{table}]\n{key} = {{ {change} = {list:?} }}\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_a_recipe_that_extends_the_one_under_test() {
        let plain = Variant::new(Base::Base, "1.1").recipe();
        assert!(plain.starts_with("schema = 1\nextends = \"/"), "{plain}");
        assert!(plain.contains("recipes/base.toml\"\n[os]\nversion = \"1.1\"\n"), "{plain}");
        assert!(!plain.contains("[kernel]") && !plain.contains("[tree]"), "{plain}");
        let older = Variant::new(Base::Node, "1.0").older(Older::Kubelet);
        let text = older.recipe();
        assert!(text.contains("\n[go.kubernetes]\nmodule = \"/"), "{text}");
        assert!(text.ends_with("/xtask/update/kubernetes\"\n"), "{text}");
        assert!(older.is_to_be_fetched() && !Variant::new(Base::Node, "1.0").is_to_be_fetched());
        let bad = Variant::new(Base::Node, "1.2").word("quiet").leaves().replace("/etc/x", "y");
        let text = bad.recipe();
        assert!(
            text.contains("\nleave = \"/usr/lib/orlop/init\"\n[kernel]\ncommand-line = "),
            "{text}"
        );
        let end = "[tree]\nreplace = { add = [\"/usr/lib/orlop/init\", \"/etc/x\"] }\n";
        assert!(text.ends_with(end), "{text}");
    }
}
