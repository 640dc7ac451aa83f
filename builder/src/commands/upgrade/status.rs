//! What each node runs, and where it is on its way.

use formats::fleet::Asked;
use serde_json::{Value, json};
use upgrade::api::Api;
use upgrade::node::Node;

use super::{Args, Format, choose, unanswered};
use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result};

/// Prints it.
///
/// # Errors
/// [`Id::ApiServer`]; [`Id::UnfitNode`] if a node that was named is not there; [`Id::Stdout`].
pub(super) async fn show(args: &Args, global: &Global, api: &Api) -> Result<()> {
    let mut nodes = api.nodes(None).await.map_err(|refusal| unanswered(api, refusal))?;
    if args.selector.is_some() {
        nodes = choose(args, api, &nodes).await?;
    }
    if let Some(name) = args.nodes.iter().find(|name| nodes.iter().all(|node| node.name != **name))
    {
        return Err(Error::new(Id::UnfitNode, format!("there is no node `{name}`"))
            .hint("leave the names out to see all"));
    }
    nodes.retain(|node| args.nodes.is_empty() || args.nodes.contains(&node.name));
    nodes.retain(|node| !args.all || node.status.is_some());
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    if global.json || args.format == Format::Json {
        return print_json(&json!({ "nodes": nodes.iter().map(object).collect::<Vec<_>>() }));
    }
    print(table(&nodes))
}

/// Who has cordoned it.
fn cordoned(node: &Node) -> &'static str {
    match (node.unschedulable, node.mark()) {
        (false, None) => "no",
        (true, None) => "yes",
        (_, Some(mark)) if mark.cordoned => "by an upgrade",
        (_, Some(_)) => "before an upgrade",
    }
}

/// Why it is not where it was asked to be.
fn reason(node: &Node) -> Option<&str> {
    match node.status.as_ref()? {
        Err(why) => Some(why),
        Ok(status) => status.reason.as_deref().filter(|_| status.phase.is_bad()),
    }
}

fn object(node: &Node) -> Value {
    let status = node.status();
    let fallback = status.and_then(|status| status.fallback.as_ref()).map(|fallback| {
        json!({ "version": fallback.version, "reason": fallback.reason, "time": fallback.time })
    });
    json!({
        "node": node.name,
        "version": status.map(|status| &status.version),
        "root-hash": node.root_hash().map(|hash| hash.to_string()),
        "phase": status.map(|status| status.phase.name()),
        "percent": status.and_then(|status| status.percent),
        "asked": node.asked.as_ref().map(|asked| &asked.release),
        "request": node.asked.as_ref().and_then(|asked| asked.request.as_ref()),
        "ready": node.ready.is_ok(),
        "cordoned": cordoned(node),
        "kubelet": node.kubelet,
        "reason": reason(node),
        "fallback": fallback,
    })
}

fn table(nodes: &[Node]) -> String {
    let mut rows =
        vec![["NODE", "VERSION", "PHASE", "ASKED", "READY", "CORDONED"].map(str::to_owned)];
    let mut reasons = Vec::new();
    for node in nodes {
        let (version, phase) = match (&node.status, node.status()) {
            (None, _) => ("-".to_owned(), "no updater".to_owned()),
            (Some(_), None) => ("-".to_owned(), "not read".to_owned()),
            (Some(_), Some(status)) => {
                let percent = status.percent.map(|percent| format!(" {percent} %"));
                let phase = format!("{}{}", status.phase.name(), percent.unwrap_or_default());
                (status.version.clone(), phase)
            }
        };
        let asked = node.asked.as_ref().map_or("-", |Asked { release, .. }| release).to_owned();
        let ready = if node.ready.is_ok() { "yes" } else { "no" }.to_owned();
        let cordoned = cordoned(node).to_owned();
        rows.push([node.name.clone(), version, phase, asked, ready, cordoned]);
        reasons.extend(reason(node).map(|why| format!("{}: {why}", node.name)));
    }
    let mut lines = crate::cluster::view::aligned(&rows);
    lines.extend(reasons);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use formats::digest::Sha256;
    use formats::fleet::{Fallback, Phase, Status};
    use upgrade::mark::Mark;

    use super::*;

    fn node(name: &str, status: Option<Result<Status, String>>) -> Node {
        Node {
            name: name.to_owned(),
            revision: "1".to_owned(),
            unschedulable: false,
            ready: Ok(()),
            boot_id: "b".to_owned(),
            kubelet: "v1.36.3".to_owned(),
            architecture: "amd64".to_owned(),
            asked: None,
            look: None,
            status,
            mark: None,
        }
    }

    fn nodes() -> Vec<Node> {
        let status = |phase| Status::new("1.1", Sha256::from_bytes([1; 32]), phase);
        let mut staging = status(Phase::Staging);
        staging.percent = Some(42);
        let mut back = status(Phase::FellBack);
        back.reason = Some("the CRI does not answer".to_owned());
        let reason = "the CRI does not answer".to_owned();
        back.fallback = Some(Fallback { version: "1.2".to_owned(), reason, time: 7 });
        let mut first = node("worker-1", Some(Ok(staging)));
        first.asked = Asked::read(Some("1.2"), Some("r"));
        first.unschedulable = true;
        first.mark = Some(Ok(Mark { cordoned: true, asked: None }));
        let mut second = node("worker-2", Some(Ok(back)));
        second.unschedulable = true;
        second.mark = Some(Ok(Mark { cordoned: false, asked: None }));
        let mut third = node("control", None);
        third.ready = Err("no CNI".to_owned());
        third.unschedulable = true;
        vec![first, second, third, node("worker-3", Some(Err("schema 2".to_owned())))]
    }

    #[test]
    fn the_fleet_is_a_table() {
        expect![[r#"
            NODE      VERSION  PHASE         ASKED  READY  CORDONED
            worker-1  1.1      staging 42 %  1.2    yes    by an upgrade
            worker-2  1.1      fell-back     -      yes    before an upgrade
            control   -        no updater    -      no     yes
            worker-3  -        not read      -      yes    no
            worker-2: the CRI does not answer
            worker-3: schema 2"#]]
        .assert_eq(&table(&nodes()));
    }

    #[test]
    fn the_object_is_what_the_page_says() {
        let mut table = crate::documented::Table::of("`orlop upgrade --status`");
        let nodes = nodes();
        let nodes: Vec<_> = nodes.iter().map(object).collect();
        table.check(&json!({ "schema": 1, "nodes": nodes }));
        table.complete();
    }
}
