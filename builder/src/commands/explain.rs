//! `orlop explain`: the page of an error id.

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An error id, such as E0301; without one, all are listed
    id: Option<String>,
}

/// Prints the page.
///
/// # Errors
/// [`Id::UnknownId`] with the near ones.
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let title = |id: &Id| id.page().lines().next().unwrap_or_default().trim_start_matches("# ");
    let facts = |id: &Id| {
        serde_json::json!({
            "id": id.code(),
            "class": id.exit().class(),
            "status": id.exit() as u8,
            "title": title(id),
        })
    };
    let Some(wanted) = &args.id else {
        if global.json {
            let errors: Vec<_> = Id::ALL.iter().map(facts).collect();
            return print_json(&serde_json::json!({ "errors": errors }));
        }
        let list: Vec<_> = Id::ALL.iter().map(title).collect();
        return print(list.join("\n"));
    };
    let found = Id::ALL.iter().find(|id| id.code().eq_ignore_ascii_case(wanted));
    let id = found.ok_or_else(|| {
        Error::new(Id::UnknownId, format!("`{wanted}` is not an error id"))
            .hint("`orlop explain` without an id lists them all")
    })?;
    if global.json {
        let mut facts = facts(id);
        facts["page"] = id.page().into();
        return print_json(&facts);
    }
    print(id.page())
}
