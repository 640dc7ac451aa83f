//! Why a package is in the lock: read from the lock alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::resolve::RECIPE;
use crate::lock::model::Package;

/// Why a package is in the lock: for everyone who requires it, the shortest chain from the recipe,
/// each ending with `name`. Empty if it is not in the lock.
pub fn why(packages: &[Package], name: &str) -> Vec<Vec<String>> {
    let by_name: BTreeMap<_, _> =
        packages.iter().map(|package| (package.name.as_str(), package)).collect();
    let Some(package) = by_name.get(name) else { return Vec::new() };
    let chain = |requirer: &String| {
        let mut seen = BTreeSet::from([name, requirer.as_str()]);
        let mut queue = VecDeque::from([vec![name, requirer.as_str()]]);
        while let Some(way) = queue.pop_front() {
            let last = *way.last()?;
            let Some(package) = by_name.get(last) else {
                // The recipe, or a meta-package that the recipe names.
                let end = if last == RECIPE { None } else { Some(RECIPE) };
                let way = way.into_iter().chain(end).rev().map(str::to_owned);
                return Some(way.collect::<Vec<_>>());
            };
            for next in &package.required_by {
                if seen.insert(next) {
                    queue.push_back(way.iter().copied().chain([next.as_str()]).collect());
                }
            }
        }
        // Only reached by way of `name` itself.
        None
    };
    package.required_by.iter().filter_map(chain).collect()
}
