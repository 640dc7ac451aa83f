//! What is asked of containerd, and told to it, to make images good.

use std::time::Duration;

use cri::containerd::Descriptor;
use cri::{Client, Transport};

use crate::images::QUESTION;

/// The name of our view of a snapshot, which is there for a moment.
const VIEW: &str = "orlop-after-crash";
/// To stop what runs no more and to take its network down; to collect what nothing needs any more.
const LONG: Duration = Duration::from_secs(60);

/// A containerd.
pub(crate) trait Runtime {
    /// The names of images, and what they point to.
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String>;
    /// Removes a name and all that only it keeps.
    fn delete_image(&mut self, name: &str) -> Result<(), String>;
    /// Forgets a blob.
    fn delete_blob(&mut self, digest: &str) -> Result<(), String>;
    /// The directories of a snapshot and of those below it, the uppermost first.
    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String>;
    /// Removes a snapshot that nothing lies on.
    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String>;
    /// Removes the pods of earlier boots: they hold snapshots, and run no more.
    fn remove_pods(&mut self) -> Result<(), String>;
}

impl<T: Transport> Runtime for Client<T> {
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String> {
        Client::images(self, QUESTION).map_err(|error| format!("cannot list the images: {error}"))
    }

    fn delete_image(&mut self, name: &str) -> Result<(), String> {
        Client::delete_image(self, name, LONG).map_err(|error| error.to_string())
    }

    fn delete_blob(&mut self, digest: &str) -> Result<(), String> {
        Client::delete_blob(self, digest, QUESTION).map_err(|error| error.to_string())
    }

    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String> {
        // There may be one of a run that was cut off.
        let view = Client::remove_snapshot(self, VIEW, QUESTION)
            .and_then(|()| self.view_snapshot(VIEW, snapshot, QUESTION))
            .and_then(|view| Client::remove_snapshot(self, VIEW, QUESTION).map(|()| view));
        view.map_err(|error| format!("cannot look at the snapshot {snapshot}: {error}"))
    }

    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String> {
        Client::remove_snapshot(self, snapshot, QUESTION).map_err(|error| error.to_string())
    }

    fn remove_pods(&mut self) -> Result<(), String> {
        let told = |error: cri::Error| error.to_string();
        for sandbox in self.sandboxes(QUESTION).map_err(told)? {
            let pod = |error: cri::Error| {
                format!("cannot remove pod {}/{}: {error}", sandbox.namespace, sandbox.name)
            };
            self.stop_sandbox(&sandbox.id, LONG).map_err(pod)?;
            self.remove_sandbox(&sandbox.id, LONG).map_err(pod)?;
        }
        Ok(())
    }
}
