//! Node configurations on the host: read by the code that reads them on the node.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use formats::node_config::{
    LARGEST, NodeConfig, Problem, Weakening, parse, static_pod_problems, update_problems,
};

use crate::error::{Context as _, Error, Id, Result, Shown, several};

/// The name for what comes from standard input.
pub const STDIN: &str = "-";

/// A file that may be a node configuration.
#[derive(Debug, Clone)]
pub struct Source {
    /// As the user named it.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A node configuration in which nothing is wrong.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says, as it was written.
    pub text: String,
    /// What it means.
    pub config: NodeConfig,
}

/// Reads the node configuration in the file at `path`.
///
/// # Errors
/// [`Id::NodeConfigNotFound`]; [`Id::NodeConfig`] with everything that is wrong.
pub fn load(path: &Path) -> Result<Loaded> {
    Source::read(path)?.load()
}

impl Source {
    /// Reads a file, or standard input if `path` is [`STDIN`].
    ///
    /// # Errors
    /// [`Id::NodeConfigNotFound`]; [`Id::NodeConfig`] if it is not text.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new(STDIN) {
            return Self::from(Path::new("<stdin>"), io::stdin().lock());
        }
        Self::read(path)
    }

    fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| {
            cannot_read(path)
                .caused_by(error)
                .hint("`orlop config example` prints one to begin with")
        })?;
        Self::from(path, file)
    }

    fn from(path: &Path, reader: impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        // One byte more than is allowed, for the parser to see that it is too much.
        let most = LARGEST as u64 + 1;
        reader
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(|error| cannot_read(path).caused_by(error))?;
        let text = String::from_utf8(bytes).or_fail(Id::NodeConfig, || {
            format!("the node configuration `{}` is not text in UTF-8", path.display())
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// What is wrong with it; if nothing is, what it gives up of a node's protection.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn judge(&self) -> Result<Vec<Weakening>, Vec<Problem>> {
        self.understood().map(|config| config.weakened())
    }

    /// What it means.
    ///
    /// # Errors
    /// [`Id::NodeConfig`] with everything that is wrong.
    pub fn load(self) -> Result<Loaded> {
        match self.understood() {
            Ok(config) => Ok(Loaded { text: self.text, config }),
            Err(problems) => Err(report(&[(self, problems)])),
        }
    }

    /// What it means, or what is wrong with it.
    fn understood(&self) -> Result<NodeConfig, Vec<Problem>> {
        let config = parse(&self.text)?;
        // A node would go on, with a line on its screen; here somebody can mend it.
        let mut problems = static_pod_problems(&self.text, &config);
        problems.extend(update_problems(&self.text, &config));
        problems.sort_by_key(|problem| problem.span.start);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// One error for what is wrong with these files; there must be something.
pub fn report(found: &[(Source, Vec<Problem>)]) -> Error {
    let shown = found.iter().flat_map(|(source, problems)| {
        problems.iter().map(|problem| Shown {
            text: format!("{}\n{}", problem.message, problem.excerpt(&source.path, &source.text)),
            hint: problem.hint.clone(),
        })
    });
    let wrong = found.iter().filter(|(_, problems)| !problems.is_empty()).count();
    let what = if wrong == 1 { "the node configuration" } else { "the node configurations" };
    several(Id::NodeConfig, what, shown.collect())
}

fn cannot_read(path: &Path) -> Error {
    let message = format!("cannot read the node configuration `{}`", path.display());
    Error::new(Id::NodeConfigNotFound, message)
}
