//! What a look at a channel tells of it for this node.

use formats::release::Listed;
use serde_json::{Value, json};

use crate::choose::{Choice, choose};
use crate::eligible::{Node, NotForUs};
use crate::protocol::Failed;
use crate::trust::Channel;
use crate::words::words;

/// What the channel has for this node.
pub(super) fn choice(
    channel: &Channel<'_>,
    node: &Node,
    listed: &[Listed],
    now: i64,
) -> Result<Choice, Failed> {
    let mut read = |it: &Listed| channel.release(Some(&it.version));
    Ok(choose(listed, node, now, &mut read).map_err(|error| words(&error))?)
}

/// The epoch that the node's own channel says of what runs, if it is higher than what is known: of this
/// image with this root hash, whatever else has its version.
pub(super) fn epoch_of_what_runs(
    channel: &Channel<'_>,
    node: &Node,
    listed: &[Listed],
) -> Result<Option<u64>, Failed> {
    let own = listed.iter().find(|it| it.version == node.version);
    let Some(own) = own.filter(|own| own.epoch > node.epoch) else { return Ok(None) };
    let own = channel.release(Some(&own.version)).map_err(|error| words(&error))?.release;
    let runs = own.image == node.image && own.root.hash == node.running.to_string();
    Ok(runs.then_some(own.epoch))
}

/// The result of `check`.
pub(super) fn found(channel: &Channel<'_>, node: &Node, now: i64) -> Result<Value, Failed> {
    let listed = channel.releases();
    if listed.is_empty() {
        return Ok(nothing(&node.version, channel.trusted().expires()));
    }
    let choice = choice(channel, node, &listed, now)?;
    let reason = |why: Option<NotForUs>| why.map(|why| why.to_string());
    let (newest, takes) = (choice.newest.as_ref(), choice.by_policy.as_ref());
    Ok(json!({
        "runs": node.version,
        "newest": newest.map(|it| &it.release.version),
        "root-hash": newest.map(|it| &it.release.root.hash),
        "published": newest.and_then(|it| it.published),
        "expires": channel.trusted().expires(),
        "against": reason(choice.against),
        "against-by-policy": reason(choice.against_by_policy),
        "by-policy": takes.map(|it| json!({
            "version": it.release.version, "root-hash": it.release.root.hash,
        })),
    }))
}

/// The result of `check` where the channel has nothing, such as after the last release was withdrawn.
fn nothing(runs: &str, expires: i64) -> Value {
    let why = "the channel has no release";
    json!({
        "runs": runs, "newest": null, "root-hash": null, "published": null, "expires": expires,
        "against": why, "against-by-policy": why, "by-policy": null,
    })
}
