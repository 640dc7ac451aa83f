//! The objects of a collection, and every change of them, for as long as somebody wants to know.

use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use http::Method;
use kube::api::WatchEvent;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Api, Refusal, request};
use crate::node::{self, Metadata};
use crate::pods;

/// The API server ends a watch after this time, and the next one begins.
const WATCH: Duration = Duration::from_secs(240);
/// A watch that says nothing for longer than this is dead.
const SILENCE: Duration = Duration::from_secs(270);
/// Between two watches: somebody on the way may end each at once.
const PAUSE: Duration = Duration::from_secs(1);

/// An object of a kind that can be watched.
pub(crate) trait Object: Clone + DeserializeOwned {
    /// What every object has.
    fn metadata(&self) -> &Metadata;
}

impl Object for node::Object {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Object for pods::Object {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// What was seen.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    /// All objects.
    All(Vec<T>),
    /// One that is new or has changed.
    One(T),
    /// One that is gone.
    Gone(T),
    /// For now nothing is seen, and why.
    Nothing(Refusal),
    /// Nothing will be seen, and why.
    Never(Refusal),
}

/// Tells of the objects of a collection until nobody listens any more, or it is refused.
pub(crate) async fn follow<T: Object>(
    api: Api,
    path: &str,
    query: &str,
    mut tell: impl FnMut(Seen<T>) -> Result<(), ()>,
) {
    loop {
        let outcome = match api.list::<T>(path, query).await {
            Ok((objects, revision)) => match tell(Seen::All(objects)) {
                Ok(()) => changes(&api, path, query, revision, &mut tell).await,
                Err(()) => return,
            },
            Err(refusal) => Ok(Some(refusal)),
        };
        let told = match outcome {
            Err(()) => return,
            // A new list is due.
            Ok(None) => continue,
            Ok(Some(refusal)) if refusal.passes() => {
                let wait = refusal.wait();
                let told = tell(Seen::Nothing(refusal));
                tokio::time::sleep(wait).await;
                told
            }
            Ok(Some(refusal)) => {
                let _last = tell(Seen::Never(refusal));
                return;
            }
        };
        if told.is_err() {
            return;
        }
    }
}

/// Watches from a revision on, until a new list is due (nothing), or something stands against it.
async fn changes<T: Object>(
    api: &Api,
    path: &str,
    query: &str,
    mut revision: String,
    tell: &mut impl FnMut(Seen<T>) -> Result<(), ()>,
) -> Result<Option<Refusal>, ()> {
    loop {
        let seconds = WATCH.as_secs();
        let address = format!(
            "{path}?{query}&watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}\
             &resourceVersion={revision}"
        );
        let asked = api.client.request_events::<T>(request(Method::GET, &address, &Value::Null));
        let stream = match tokio::time::timeout(super::ANSWER, asked).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Ok(None),
            Ok(Err(kube::Error::Api(status))) => return Ok(Some(Refusal::told(&status))),
            Ok(Err(error)) => return Ok(Some(Refusal::unanswered(&error))),
            Err(_) => return Ok(Some(Refusal::late(super::ANSWER))),
        };
        let mut stream = pin!(stream);
        loop {
            let Ok(next) = tokio::time::timeout(SILENCE, stream.try_next()).await else {
                return Ok(None);
            };
            match next {
                // It has lasted as long as a watch does.
                Ok(None) => {
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
                Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    revision.clone_from(&object.metadata().resource_version);
                    tell(Seen::One(object))?;
                }
                Ok(Some(WatchEvent::Deleted(object))) => {
                    revision.clone_from(&object.metadata().resource_version);
                    tell(Seen::Gone(object))?;
                }
                Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                    revision = bookmark.metadata.resource_version;
                }
                // Too old a revision, a server that goes down: the list says what is so now.
                Ok(Some(WatchEvent::Error(status))) => {
                    let refusal = Refusal::told(&status);
                    return Ok(if refusal.is_old() { None } else { Some(refusal) });
                }
                Err(error) => return Ok(Some(Refusal::unanswered(&error))),
            }
        }
    }
}
