//! The manifests of static pods against what kubelet does with a file of its static pods (Kubernetes
//! 1.36, `pkg/kubelet/config`): it takes one Pod of `v1`, of which the types and the rules of the API
//! must hold, and which names no object of an API server. A file that it does not take it passes over
//! with a line in its log, so a node tells of it and goes on.

mod field;
mod rules;
mod yaml;

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeTable;

use super::{Api, NodeConfig, Problem, StaticPodName};

/// Something wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    /// The line of the manifest, from 0.
    line: usize,
    message: String,
}

/// What is wrong with the static pods of `config`, which was read from `text`, in the order of the
/// text. The node runs with them, but kubelet does not run these.
pub fn static_pod_problems(text: &str, config: &NodeConfig) -> Vec<Problem> {
    let Some(kubernetes) = &config.kubernetes else { return Vec::new() };
    let alone = kubernetes.api == Api::Standalone;
    let hostname = config.hostname.as_ref().map_or(1, |name| name.as_str().len());
    let mut names: BTreeMap<(String, String), &StaticPodName> = BTreeMap::new();
    let mut found = Vec::new();
    for (file, manifest) in &kubernetes.static_pods {
        let mut faults = Vec::new();
        match yaml::first_document(manifest) {
            Ok(document) => {
                if let Some(line) = document.more {
                    let message = "kubelet reads the first document of a manifest only: write one \
                                   key of `static-pods` for each pod";
                    faults.push(Fault { line, message: message.to_owned() });
                }
                let pod = rules::check(&document.root, alone, hostname, &mut faults);
                if let Some(pod) = pod {
                    match names.get(&pod) {
                        Some(other) => faults.push(Fault {
                            line: 0,
                            message: format!(
                                "the pod `{}` in the namespace `{}` is that of `{}` already",
                                pod.1,
                                pod.0,
                                other.as_str()
                            ),
                        }),
                        None => drop(names.insert(pod, file)),
                    }
                }
            }
            Err(fault) => faults.push(fault),
        }
        if !faults.is_empty() {
            found.push((file, faults));
        }
    }
    if found.is_empty() {
        return Vec::new();
    }
    let table = DeTable::parse(text).ok();
    let pods = table.as_ref().and_then(|table| static_pods(table.get_ref()));
    let mut problems = Vec::new();
    for (file, faults) in found {
        let value = pods.and_then(|pods| pods.get(file.as_str())).map_or(0..0, toml::Spanned::span);
        problems.extend(faults.into_iter().map(|fault| {
            let place = line_of(text, value.clone(), fault.line);
            let message = format!("static pod `{}`: {}", file.as_str(), one_line(&fault.message));
            Problem::at(text, place, message)
        }));
    }
    problems.sort_by_key(|problem| problem.span.start);
    problems
}

/// Where the manifests stand in the text.
fn static_pods<'a, 't>(table: &'a DeTable<'t>) -> Option<&'a DeTable<'t>> {
    let kubernetes = table.get("kubernetes")?.get_ref().as_table()?;
    kubernetes.get("static-pods")?.get_ref().as_table()
}

/// The line of a string in TOML that is its value's line with this number, without its indentation.
fn line_of(text: &str, value: Range<usize>, number: usize) -> Range<usize> {
    let quoted = text.get(value.clone()).unwrap_or_default();
    let long = ["\"\"\"", "'''"].iter().any(|quotes| quoted.starts_with(quotes));
    if !long {
        return value;
    }
    // A line break behind the quotes is not part of the value (TOML 1.0, "String").
    let opening = quoted.get(3..).is_some_and(|rest| rest.starts_with(['\n', '\r']));
    let mut start = value.start;
    for line in quoted.split_inclusive('\n').take(number + usize::from(opening)) {
        start += line.len();
    }
    if start >= value.end {
        return value;
    }
    let line = text.get(start..value.end).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let indentation = line.len() - line.trim_start().len();
    start + indentation..start + line.trim_end().len().max(indentation)
}

/// What a manifest holds may be anything, and consoles have lines.
fn one_line(message: &str) -> String {
    let plain = message.chars().map(|c| if c.is_control() { '?' } else { c });
    plain.take(300).collect()
}

#[cfg(test)]
mod tests;
