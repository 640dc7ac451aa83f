//! The lock as TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use formats::tree::Blob;
use formats::{excerpt, quote};
use serde::Deserialize;
use toml::Spanned;

use super::model::{Image, Lock, Package, Role, Rustc, Suite, UrlFile};
use crate::error::{Error, Id, Result};
use crate::recipe::model::{Digest, ImageLocation};
use crate::source::image;

/// Read before all else, so that a newer lock is told from a broken one.
#[derive(Deserialize)]
struct Head {
    schema: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Text {
    #[serde(rename = "schema")]
    _schema: u64,
    inputs: Vec<String>,
    #[serde(default, rename = "suite")]
    suites: Vec<Suite>,
    #[serde(default, rename = "package")]
    packages: Vec<Spanned<PackageText>>,
    #[serde(default, rename = "compiler")]
    compilers: Vec<Spanned<CompilerText>>,
    #[serde(default)]
    rustc: Vec<Rustc>,
    #[serde(default, rename = "url")]
    urls: Vec<Spanned<UrlText>>,
    #[serde(default, rename = "image")]
    images: Vec<Spanned<ImageText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PackageText {
    name: String,
    version: String,
    architecture: String,
    source: String,
    suite: String,
    path: String,
    sha256: Digest,
    size: u64,
    role: Role,
    required_by: BTreeSet<String>,
}

/// A package that compiles: its table says so, so it has no role.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CompilerText {
    name: String,
    version: String,
    architecture: String,
    source: String,
    suite: String,
    path: String,
    sha256: Digest,
    size: u64,
    required_by: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct UrlText {
    component: String,
    url: String,
    sha256: Digest,
    size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ImageText {
    component: String,
    location: ImageLocation,
    #[serde(rename = "part")]
    parts: Vec<PartText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PartText {
    role: image::Role,
    media_type: String,
    sha256: Digest,
    size: u64,
}

impl Lock {
    /// Reads a lock's text; `path` is for messages only.
    ///
    /// # Errors
    /// [`Id::LockFormat`]: it is of another schema, or was changed by hand or by a merge.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let not_a_lock = |error: toml::de::Error| {
            let message = format!("`{}` is not a lock: {}", path.display(), error.message());
            let excerpt = error.span().map(|span| excerpt::excerpt(path, text, span));
            broken(message, excerpt)
        };
        let Head { schema } = toml::from_str(text).map_err(not_a_lock)?;
        if schema != 1 {
            let message = format!(
                "`{}` is of schema {schema}: this version of `orlop` knows 1",
                path.display()
            );
            return Err(broken(message, None));
        }
        let Text { inputs, suites, packages, compilers, rustc, urls, images, .. } =
            toml::from_str(text).map_err(not_a_lock)?;
        let twice = |span, what: String| {
            let message = format!("`{}` has {what} twice", path.display());
            broken(message, Some(excerpt::excerpt(path, text, span)))
        };
        let by_name = |packages: Vec<(std::ops::Range<usize>, Package)>, what: &str| {
            let mut by_name = BTreeMap::new();
            for (span, package) in packages {
                let name = package.name.clone();
                if by_name.insert(name.clone(), package).is_some() {
                    return Err(twice(span, format!("{what} `{name}`")));
                }
            }
            Ok(by_name.into_values().collect())
        };
        let packages = packages.into_iter().map(|text| (text.span(), text.into_inner().into()));
        let packages = by_name(packages.collect(), "package")?;
        let compilers = compilers.into_iter().map(|text| (text.span(), text.into_inner().into()));
        let compilers = by_name(compilers.collect(), "compiler")?;
        let mut by_component = BTreeMap::new();
        for url in urls {
            let span = url.span();
            let url = UrlFile::from(url.into_inner());
            let component = url.component.clone();
            if by_component.insert(component.clone(), url).is_some() {
                return Err(twice(span, format!("the file of `{component}`")));
            }
        }
        let mut by_image = BTreeMap::new();
        for image in images {
            let span = image.span();
            let image = Image::from(image.into_inner());
            let component = image.component.clone();
            if by_image.insert(component.clone(), image).is_some() {
                return Err(twice(span, format!("the image of `{component}`")));
            }
        }
        Ok(Self {
            inputs,
            suites,
            packages,
            compilers,
            rustc,
            urls: by_component.into_values().collect(),
            images: by_image.into_values().collect(),
        })
    }

    /// The lock's text: the same for the same lock, packages and files sorted by name.
    pub fn to_toml(&self) -> String {
        let mut text = String::from("# Made by `orlop lock`; do not edit.\nschema = 1\n");
        text.push_str("inputs = [\n");
        for line in &self.inputs {
            text.push_str(&format!("    {},\n", quote::string(line)));
        }
        text.push_str("]\n");
        for suite in &self.suites {
            let release = suite.release.0.to_string();
            table(
                &mut text,
                "suite",
                &[
                    ("name", &suite.name),
                    ("date", &suite.date),
                    ("signed-by", &suite.signed_by),
                    ("release", &release),
                ],
            );
        }
        for (kind, packages) in [("package", &self.packages), ("compiler", &self.compilers)] {
            let mut packages: Vec<_> = packages.iter().collect();
            packages.sort_by_key(|package| &package.name);
            packages.into_iter().for_each(|package| write_package(&mut text, kind, package));
        }
        for Rustc { version, commit, host, llvm } in &self.rustc {
            let values = [("version", version), ("commit", commit), ("host", host), ("llvm", llvm)];
            table(&mut text, "rustc", &values);
        }
        let mut urls: Vec<_> = self.urls.iter().collect();
        urls.sort_by_key(|file| &file.component);
        for file in urls {
            table(&mut text, "url", &[("component", &file.component), ("url", &file.url)]);
            blob(&mut text, &file.blob);
        }
        let mut images: Vec<_> = self.images.iter().collect();
        images.sort_by_key(|image| &image.component);
        for image in images {
            let location = image.location.to_string();
            let values = [("component", &image.component), ("location", &location)];
            table(&mut text, "image", &values);
            for part in &image.parts {
                let role = part.role.name().to_owned();
                let values = [("role", &role), ("media-type", &part.media_type)];
                table(&mut text, "image.part", &values);
                blob(&mut text, &part.blob);
            }
        }
        text
    }
}

fn write_package(text: &mut String, kind: &str, package: &Package) {
    let values = [
        ("name", &package.name),
        ("version", &package.version),
        ("architecture", &package.architecture),
        ("source", &package.source),
        ("suite", &package.suite),
        ("path", &package.path),
    ];
    table(text, kind, &values);
    blob(text, &package.blob);
    match package.role {
        Role::Root => text.push_str("role = \"root\"\n"),
        Role::Kernel => text.push_str("role = \"kernel\"\n"),
        Role::Tool => text.push_str("role = \"tool\"\n"),
        Role::Compiler => {}
    }
    let required_by = quote::list(package.required_by.iter().map(String::as_str));
    text.push_str(&format!("required-by = {required_by}\n"));
}

fn table(text: &mut String, name: &str, values: &[(&str, &String)]) {
    text.push_str(&format!("\n[[{name}]]\n"));
    for (key, value) in values {
        text.push_str(&format!("{key} = {}\n", quote::string(value)));
    }
}

fn blob(text: &mut String, blob: &Blob) {
    writeln!(text, "sha256 = \"{}\"\nsize = {}", blob.sha256, blob.size)
        .expect("writing to a string cannot fail");
}

fn broken(message: String, excerpt: Option<String>) -> Error {
    let message = match excerpt {
        Some(excerpt) => format!("{message}\n{excerpt}"),
        None => message,
    };
    Error::new(Id::LockFormat, message).hint("`orlop lock` makes it anew")
}

impl From<PackageText> for Package {
    fn from(text: PackageText) -> Self {
        Self {
            name: text.name,
            version: text.version,
            architecture: text.architecture,
            source: text.source,
            suite: text.suite,
            path: text.path,
            blob: Blob { sha256: text.sha256.0, size: text.size },
            role: text.role,
            required_by: text.required_by,
        }
    }
}

impl From<CompilerText> for Package {
    fn from(text: CompilerText) -> Self {
        Self {
            name: text.name,
            version: text.version,
            architecture: text.architecture,
            source: text.source,
            suite: text.suite,
            path: text.path,
            blob: Blob { sha256: text.sha256.0, size: text.size },
            role: Role::Compiler,
            required_by: text.required_by,
        }
    }
}

impl From<ImageText> for Image {
    fn from(text: ImageText) -> Self {
        let part = |text: PartText| {
            let blob = Blob { sha256: text.sha256.0, size: text.size };
            image::Part { role: text.role, media_type: text.media_type, blob }
        };
        let parts = text.parts.into_iter().map(part).collect();
        Self { component: text.component, location: text.location.0, parts }
    }
}

impl From<UrlText> for UrlFile {
    fn from(text: UrlText) -> Self {
        let blob = Blob { sha256: text.sha256.0, size: text.size };
        Self { component: text.component, url: text.url, blob }
    }
}
