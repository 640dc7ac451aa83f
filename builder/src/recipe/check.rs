//! `orlop check`: what is wrong with a recipe that reads well, found without network and without
//! building, all at once.

mod kata;
mod places;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use formats::deb::wish::is_name;
use formats::deb::{Pin, Wish, WishError};
use formats::near::near;
use globset::Glob;

use super::model::{Budget, Cargo, Go, Layers, Local, Name, Oci, Recipe};
use super::problem::{Problem, report};
use super::{Loaded, Origins};
use crate::cargo_workspace::Workspace;
use crate::error::{Error, Id, Result};
use crate::go_mod::GoMod;
use crate::source::apparmor;

/// `COMMAND_LINE_SIZE` of Linux on x86, less what the builder adds (`orlop.*`, a root hash).
const COMMAND_LINE_MOST: usize = 2048 - 512;
/// Parameters that the builder gives, or that would undo what it gives.
const RESERVED_PARAMETERS: [&str; 11] = [
    "gpt",
    "init",
    "oops",
    "orlop.root",
    "orlop.roothash",
    "orlop.slot",
    "panic",
    "rdinit",
    "ro",
    "root",
    "rw",
];
/// Parameters of ours that a recipe may give.
const OWN_PARAMETERS: [&str; 2] = ["orlop.config", "orlop.debug"];

pub(super) fn check(loaded: &Loaded) -> Result<()> {
    let mut check = Check { loaded, problems: Vec::new() };
    let recipe = &loaded.recipe;
    check.problems.extend(unsupported(loaded));
    check.os(recipe);
    check.kernel(recipe);
    check.debian(recipe);
    check.components(&[], &recipe.go, &recipe.cargo, &recipe.local);
    check.urls(recipe);
    kata::check(&mut check, recipe);
    check.images(recipe);
    check.apparmor(recipe);
    check.users(recipe);
    check.tree(recipe);
    check.problems.extend(budget(&recipe.budget, &loaded.origins));
    sizes::check(&mut check, recipe);
    places::check(&mut check, recipe);
    if check.problems.is_empty() {
        return Ok(());
    }
    Err(report(&check.problems, &loaded.origins.sources))
}

/// That nothing can be made for the architecture of the recipe, if so.
fn unsupported(loaded: &Loaded) -> Option<Problem> {
    let architecture = loaded.recipe.arch;
    let lacks = architecture.lacks()?;
    let message = format!("no image can be made for `{architecture}` yet");
    let problem = Problem::new(Id::UnsupportedArchitecture, message);
    Some(problem.at(loaded.origins.nearest(&["arch"])).hint(format!("it lacks {lacks}")))
}

/// The part of [`check`] without which nothing can be locked.
pub(super) fn check_architecture(loaded: &Loaded) -> Result<()> {
    match unsupported(loaded) {
        Some(problem) => Err(report(&[problem], &loaded.origins.sources)),
        None => Ok(()),
    }
}

/// What is wrong with a budget: a limit that nothing is held against would never be reached.
pub(super) fn budget(budget: &Budget, origins: &Origins) -> Option<Problem> {
    let wrong = |key: &str, message: &str, hint: &str| {
        let keys = ["budget", key];
        let place = origins.key(&keys).unwrap_or_else(|| origins.nearest(&keys));
        Some(Problem::new(Id::RecipeCheck, message).at(place).hint(hint))
    };
    match (&budget.base, budget.base_version.as_deref()) {
        (None, None) if budget.max_growth.is_some() => wrong(
            "max-growth",
            "`budget.max-growth` says how much, and nothing says from where",
            "`base` names the directory of a build, `base-version` a version",
        ),
        (Some(_), Some(_)) => wrong(
            "base-version",
            "`budget.base` and `budget.base-version` are two bases, and one is wanted",
            "take out one of them",
        ),
        (None, Some("")) => wrong(
            "base-version",
            "`budget.base-version` names no version",
            "write a ref, or the first digits of a commit",
        ),
        _ => None,
    }
}

struct Check<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Notes a problem with the value at `keys`.
    fn wrong(&mut self, keys: &[&str], message: impl Into<String>) -> &mut Problem {
        let place = self.loaded.origins.nearest(keys);
        self.note(Problem::new(Id::RecipeCheck, message).at(place))
    }

    /// Notes a problem with the last of `keys` itself, where it is the author's word.
    fn wrong_key(&mut self, keys: &[&str], message: impl Into<String>) -> &mut Problem {
        let origins = &self.loaded.origins;
        let place = origins.key(keys).unwrap_or_else(|| origins.nearest(keys));
        self.note(Problem::new(Id::RecipeCheck, message).at(place))
    }

    /// Notes a problem with one item of the list at `keys`.
    fn wrong_item(
        &mut self,
        keys: &[&str],
        item: &str,
        message: impl Into<String>,
    ) -> &mut Problem {
        let origins = &self.loaded.origins;
        let place = origins.item(keys, item).map_or(origins.nearest(keys), |value| &value.place);
        self.note(Problem::new(Id::RecipeCheck, message).at(place))
    }

    fn note(&mut self, problem: Problem) -> &mut Problem {
        self.problems.push(problem);
        self.problems.last_mut().expect("one was just pushed")
    }

    fn os(&mut self, recipe: &Recipe) {
        let name = &recipe.os.name;
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            self.wrong(&["os", "name"], "`os.name` must be one line of text");
        }
        let version = &recipe.os.version;
        let good = |c: char| c.is_ascii_alphanumeric() || ".+~_-".contains(c);
        if !version.starts_with(|c: char| c.is_ascii_alphanumeric()) || !version.chars().all(good) {
            self.wrong(&["os", "version"], format!("`{version}` is not a version")).hint =
                Some("use letters, digits and `.+~_-`: it becomes a directory's name".to_owned());
        }
    }

    fn kernel(&mut self, recipe: &Recipe) {
        let kernel = &recipe.kernel;
        if let Err(error) = wish(&kernel.package) {
            self.wrong(&["kernel", "package"], error.to_string());
        }
        let keys = ["kernel", "command-line"];
        let length: usize = kernel.command_line.iter().map(|parameter| parameter.len() + 1).sum();
        if length > COMMAND_LINE_MOST {
            let message =
                format!("the command line has {length} bytes: {COMMAND_LINE_MOST} are possible");
            self.wrong(&keys, message);
        }
        for parameter in &kernel.command_line {
            let name = parameter.split('=').next().unwrap_or_default();
            if parameter.is_empty()
                || parameter.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                let message = format!("`{parameter}` must be one parameter without spaces");
                self.wrong_item(&keys, parameter, message);
            } else if RESERVED_PARAMETERS.contains(&name) {
                let message = format!("`{name}` is given by the builder");
                self.wrong_item(&keys, parameter, message).hint =
                    Some("take it out of the recipe".to_owned());
            } else if name.starts_with("orlop.") && !OWN_PARAMETERS.contains(&name) {
                let message = format!("`{name}` is not a parameter that the node knows");
                self.wrong_item(&keys, parameter, message).hint = Some(
                    near(name, OWN_PARAMETERS).map_or("see `docs/recipe.md`".to_owned(), |meant| {
                        format!("did you mean `{meant}`?")
                    }),
                );
            }
        }
        self.modules("initrd-modules", &kernel.initrd_modules);
        self.modules("modules", &kernel.modules);
        self.modules("modules-for-pods", &kernel.modules_for_pods);
        self.modules("modules-on-demand", &kernel.modules_on_demand);
        self.modules("modules-uncompressed", &kernel.modules_uncompressed);
    }

    fn modules(&mut self, list: &str, modules: &BTreeSet<String>) {
        let keys = ["kernel", list];
        let mut seen = BTreeMap::new();
        for module in modules {
            let plain = module.strip_suffix(".ko").unwrap_or(module);
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if plain.is_empty() || !plain.chars().all(good) {
                self.wrong_item(&keys, module, format!("`{module}` is not a module's name")).hint =
                    Some("write it as in `virtio_blk`, without path or suffix".to_owned());
            } else if plain != module {
                let message = format!("`{module}` is a file: a module is named without `.ko`");
                self.wrong_item(&keys, module, message);
            }
            // To the kernel `-` and `_` are one character.
            if let Some(first) = seen.insert(plain.replace('-', "_"), module) {
                let message = format!("`{module}` and `{first}` are one module");
                self.wrong_item(&keys, module, message);
            }
        }
    }

    fn debian(&mut self, recipe: &Recipe) {
        let debian = &recipe.debian;
        for (key, empty) in [
            ("suites", debian.suites.is_empty()),
            ("components", debian.components.is_empty()),
            ("keys", debian.keys.is_empty()),
        ] {
            if empty {
                let message = format!("`debian.{key}` must not be empty");
                self.wrong(&["debian", key], message);
            }
        }
        for (key, words) in [("suites", &debian.suites), ("components", &debian.components)] {
            for word in words {
                let good = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
                if word.is_empty() || !word.chars().all(good) || word.contains("..") {
                    let message = format!("`{word}` cannot stand in `debian.{key}`");
                    self.wrong_item(&["debian", key], word, message);
                }
            }
        }
        for key in &debian.keys {
            if key.len() != 40 || !key.chars().all(|c| c.is_ascii_hexdigit()) {
                let message = format!("`{key}` is not a fingerprint of 40 hexadecimal digits");
                self.wrong_item(&["debian", "keys"], key, message).hint =
                    Some("`gpg --show-keys KEYRING` prints it; leave out the spaces".to_owned());
            }
        }
        if let Some(keyring) = &debian.keyring {
            self.file(&["debian", "keyring"], keyring);
        }
        for (key, packages) in [("packages", &debian.packages), ("tools", &debian.tools)] {
            let mut pins: BTreeMap<String, Wish> = BTreeMap::new();
            for package in packages {
                let wish = match wish(package) {
                    Ok(wish) => wish,
                    Err(error) => {
                        self.wrong_item(&["debian", key], package, error.to_string());
                        continue;
                    }
                };
                let name = wish.name.clone();
                if debian.exclude.contains_key(&name) {
                    let message = format!("`{name}` is in `debian.{key}` and excluded");
                    self.wrong_key(&["debian", "exclude", &name], message);
                }
                if wish.pin == Pin::None {
                    continue;
                }
                if let Some(other) = pins.insert(name, wish) {
                    let message =
                        format!("`{package}` and `{other}` are two versions of a package");
                    self.wrong_item(&["debian", key], package, message);
                }
            }
        }
        for package in &debian.compilers {
            if !is_name(package) {
                let message = format!("`{package}` is not a Debian package's name");
                self.wrong_item(&["debian", "compilers"], package, message);
            }
        }
        if debian.compilers.is_empty() && recipe.all_cargo().next().is_some() {
            let message = "`debian.compilers` must not be empty: there are Cargo components";
            self.wrong(&["debian", "compilers"], message.to_owned());
        }
        for (package, reason) in &debian.exclude {
            let keys = ["debian", "exclude", package];
            if !is_name(package) {
                self.wrong_key(&keys, format!("`{package}` is not a Debian package's name"));
            }
            if reason.trim().is_empty() {
                let message = format!("`{package}` is excluded without a reason");
                self.wrong(&keys, message).hint =
                    Some("say why the image works without it".to_owned());
            }
        }
        for glob in &debian.drop {
            self.glob(&["debian", "drop"], Some(glob), glob);
        }
    }

    /// Notes globs that are none: `item` of a list, or else the last of `keys`.
    fn glob(&mut self, keys: &[&str], item: Option<&str>, glob: &str) {
        let message = match Glob::new(glob) {
            Ok(_) if glob.starts_with('/') => return,
            Ok(_) => format!("`{glob}` must begin with `/`: it matches paths in the image"),
            Err(error) => format!("`{glob}` is not a glob: {}", error.kind()),
        };
        self.wrong_word(keys, item, message);
    }

    fn wrong_word(&mut self, keys: &[&str], item: Option<&str>, message: String) {
        match item {
            Some(item) => self.wrong_item(keys, item, message),
            None => self.wrong_key(keys, message),
        };
    }

    /// The components of the root, or of the image at `keys`.
    fn components(
        &mut self,
        keys: &[&str],
        go: &BTreeMap<Name, Go>,
        cargo: &BTreeMap<Name, Cargo>,
        local: &BTreeMap<Name, Local>,
    ) {
        for (name, go) in go {
            self.go(&[keys, &["go", name.as_str()]].concat(), go);
        }
        for (name, cargo) in cargo {
            self.cargo(&[keys, &["cargo", name.as_str()]].concat(), cargo);
        }
        for (name, local) in local {
            if !local.path.exists() {
                let message = format!("`{}` does not exist", local.path.display());
                self.wrong(&[keys, &["local", name.as_str(), "path"]].concat(), message);
            }
        }
    }

    fn go(&mut self, keys: &[&str], go: &Go) {
        let module_keys = [keys, &["module"]].concat();
        let file = go.module.join("go.mod");
        let Ok(text) = fs::read_to_string(&file) else {
            let message = format!("`{}` cannot be read", file.display());
            self.wrong(&module_keys, message).hint =
                Some("`module` is the directory that holds `go.mod` and `go.sum`".to_owned());
            return;
        };
        let go_mod = match GoMod::parse(&text) {
            Ok(go_mod) => go_mod,
            Err(error) => {
                let message = format!("`{}`: {error}", file.display());
                self.wrong(&module_keys, message).hint = error.hint().map(str::to_owned);
                return;
            }
        };
        // Go writes none for a module that needs no other.
        if !go_mod.require.is_empty() {
            self.file(&module_keys, &go.module.join("go.sum"));
        }
        if go.programs.is_empty() {
            let message = format!("`{}` has no programs", keys.join("."));
            self.wrong(&[keys, &["programs"]].concat(), message);
        }
        for program in go.programs.keys() {
            if go_mod.tools.contains(program) {
                continue;
            }
            let message = format!("`{program}` is not a `tool` of `{}`", file.display());
            let hint = match near(program, go_mod.tools.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("run `go get -tool {program}` there"),
            };
            self.wrong_key(&[keys, &["programs", program]].concat(), message).hint = Some(hint);
        }
    }

    fn cargo(&mut self, keys: &[&str], cargo: &Cargo) {
        let workspace_keys = [keys, &["workspace"]].concat();
        let problems = self.problems.len();
        for file in ["Cargo.toml", "Cargo.lock"] {
            self.file(&workspace_keys, &cargo.workspace.join(file));
        }
        if cargo.programs.is_empty() {
            let message = format!("`{}` has no programs", keys.join("."));
            self.wrong(&[keys, &["programs"]].concat(), message);
        }
        if self.problems.len() > problems {
            return;
        }
        let workspace = match Workspace::read(&cargo.workspace) {
            Ok(workspace) => workspace,
            Err(error) => return self.wrong_because(&workspace_keys, &error),
        };
        if let Err(error) = workspace.lockfile() {
            self.wrong_because(&workspace_keys, &error);
        }
        if !workspace.has_profile("node") {
            let message = format!("`{}` has no profile `node`", cargo.workspace.display());
            self.wrong(&workspace_keys, message).hint =
                Some("add `[profile.node]` with `inherits = \"release\"`".to_owned());
        }
        let package = match workspace.package(&cargo.package) {
            Ok(package) => package,
            Err(error) => return self.wrong_because(&[keys, &["package"]].concat(), &error),
        };
        for program in cargo.programs.keys().filter(|name| !package.programs.contains(*name)) {
            let message = format!("`{program}` is not a program of `{}`", cargo.package);
            let hint = match near(program, package.programs.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => {
                    format!("it has `{}`", Vec::from_iter(package.programs.clone()).join("`, `"))
                }
            };
            self.wrong_key(&[keys, &["programs", program]].concat(), message).hint = Some(hint);
        }
    }

    /// Notes what a reader of a foreign format has found at the value at `keys`.
    fn wrong_because(&mut self, keys: &[&str], error: &Error) {
        self.wrong(keys, error.chain()).hint = error.hints().first().cloned();
    }

    fn images(&mut self, recipe: &Recipe) {
        let mut seen = BTreeMap::new();
        for (name, image) in &recipe.oci {
            let keys = ["oci", name.as_str()];
            self.components(&keys, &image.go, &image.cargo, &image.local);
            if image.is_foreign() {
                self.foreign_image(name, image);
            } else if image.layers != Layers::AsTheyAre {
                let message = format!("`oci.{name}` is made here: its layer is never packed");
                self.wrong_key(&["oci", name.as_str(), "layers"], message).hint =
                    Some("take out `layers`".to_owned());
            } else if image.go.is_empty() && image.cargo.is_empty() && image.local.is_empty() {
                self.wrong(&keys, format!("`oci.{name}` has no files")).hint = Some(
                    "give it a `go`, `cargo` or `local` component, an `archive` or a `registry`"
                        .to_owned(),
                );
            }
            if let Some(first) = seen.insert(image.reference.0.as_str(), name) {
                let message =
                    format!("`{name}` and `{first}` are one image, `{}`", image.reference.0);
                self.wrong(&["oci", name.as_str(), "reference"], message);
            }
            for variable in image.environment.keys() {
                if variable.is_empty() || variable.contains(['=', '\0']) {
                    let message = format!("`{variable}` is not a variable's name");
                    self.wrong_key(&["oci", name.as_str(), "environment", variable], message);
                }
            }
        }
    }

    /// What is said of an image of somebody else: where it is, what it is called, and nothing that would
    /// make another one of it.
    fn foreign_image(&mut self, name: &Name, image: &Oci) {
        let name = name.as_str();
        if let (Some(_), Some(_)) = (&image.archive, &image.registry) {
            let message = format!("`oci.{name}` is of an archive and of a registry");
            self.wrong_key(&["oci", name, "registry"], message).hint =
                Some("take out one of them".to_owned());
        }
        for (key, is_there) in [
            ("cargo", !image.cargo.is_empty()),
            ("command", !image.command.is_empty()),
            ("entrypoint", !image.entrypoint.is_empty()),
            ("environment", !image.environment.is_empty()),
            ("go", !image.go.is_empty()),
            ("local", !image.local.is_empty()),
            ("user", !image.user.is_empty()),
        ] {
            if is_there {
                let message = format!("`oci.{name}` is somebody else's image, and has a `{key}`");
                self.wrong_key(&["oci", name, key], message).hint =
                    Some("it is taken as it is: a pod can say otherwise".to_owned());
            }
        }
        if let Some(archive) = image.archive.as_ref().filter(|archive| !archive.exists()) {
            let message = format!("`{}` does not exist", archive.display());
            self.wrong(&["oci", name, "archive"], message);
        }
        let at = image.at.0.to_string();
        if !at.ends_with(".json") {
            let message = format!("`{at}` is not the place of an index");
            self.wrong(&["oci", name, "at"], message).hint =
                Some(format!("write `/usr/lib/orlop/images/{name}.json`"));
        }
    }

    fn urls(&mut self, recipe: &Recipe) {
        for (name, url) in &recipe.url {
            let name = name.as_str();
            let written = url.url.secret();
            if !written.starts_with("https://") && !written.starts_with("http://") {
                let message = format!("`{}` must begin with `https://` or `http://`", url.url);
                self.wrong(&["url", name, "url"], message);
            } else if let Err(error) = url.url.address() {
                self.wrong(&["url", name, "url"], error.to_string());
            }
            let keys = ["url", name, "unpack"];
            let members = url.unpack.keys().filter(|member| *member != ".").count();
            let is_kata = recipe.kata.as_ref().is_some_and(|kata| kata.payload.as_str() == name);
            if url.unpack.is_empty() && is_kata {
                // What is taken of it, `kata.hypervisor` says.
            } else if url.unpack.is_empty() {
                self.wrong(&keys, format!("`url.{name}` puts nothing into the image"));
            } else if url.unpack.contains_key("") {
                let message = format!("`url.{name}` takes what has no name");
                self.wrong_key(&["url", name, "unpack", ""], message).hint =
                    Some("the whole archive is `\"./\"`, the file itself `\".\"`".to_owned());
            } else if members > 0 && members < url.unpack.len() {
                let message = format!("`url.{name}` takes the file and members of it");
                self.wrong_key(&["url", name, "unpack", "."], message).hint =
                    Some("use two components".to_owned());
            }
        }
    }

    fn apparmor(&mut self, recipe: &Recipe) {
        let tools = &recipe.debian.tools;
        let is_parser = |tool: &String| wish(tool).is_ok_and(|w| w.name == apparmor::PACKAGE);
        for (name, component) in &recipe.apparmor {
            self.file(&["apparmor", name.as_str(), "profile"], &component.profile);
            if !tools.iter().any(is_parser) {
                let message = format!("nothing compiles `apparmor.{name}`");
                self.wrong(&["apparmor", name.as_str()], message).hint =
                    Some(format!("add `{}` to `debian.tools`", apparmor::PACKAGE));
            }
        }
    }

    fn users(&mut self, recipe: &Recipe) {
        let mut seen = BTreeMap::new();
        for (name, user) in &recipe.users {
            let keys = ["users", name.as_str(), "id"];
            if let Some(first) = seen.insert(user.id, name) {
                self.wrong(&keys, format!("`{name}` and `{first}` have one id, {}", user.id));
            }
            // (uid_t) -1 means "do not change" to chown(2).
            if user.id == u32::MAX {
                self.wrong(&keys, format!("{} is not an id that a user can have", user.id));
            }
            if (user.id == 0) != (name.as_str() == "root") {
                self.wrong(&keys, "id 0 is the user `root`, and nobody else's");
            }
        }
    }

    fn tree(&mut self, recipe: &Recipe) {
        for (glob, component) in &recipe.tree.executables {
            let keys = ["tree", "executables", glob];
            self.glob(&keys, None, glob);
            if component.trim().is_empty() {
                let message = format!("`{glob}` must name the component that it belongs to");
                self.wrong(&keys, message);
            }
        }
        for (path, target) in &recipe.tree.symlinks {
            if target.is_empty() || target.contains('\0') || target.len() > 4095 {
                let path = path.0.to_string();
                self.wrong(
                    &["tree", "symlinks", &path],
                    format!("`{path}` must have a target of 1 to 4095 bytes"),
                );
            }
        }
    }

    fn file(&mut self, keys: &[&str], file: &Path) {
        if !file.is_file() {
            self.wrong(keys, format!("`{}` is not there", file.display()));
        }
    }
}

/// What is asked for, of a package whose name is one.
fn wish(text: &str) -> std::result::Result<Wish, WishError> {
    let wish: Wish = text.parse()?;
    if is_name(&wish.name) { Ok(wish) } else { Err(WishError::Name(text.to_owned())) }
}

#[cfg(test)]
mod tests;
