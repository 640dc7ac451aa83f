//! What is asked of containerd, and told to it, to make images good.

use std::time::Duration;

use cri::containerd::Descriptor;
use cri::{Client, Transport};

use crate::images::QUESTION;

/// The name of our view of a snapshot, which is there for a moment.
const VIEW: &str = "orlop-after-crash";
/// To collect what nothing needs any more.
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
    /// The name of each snapshot that there is, whoever made it, and of the one it lies on.
    fn snapshots(&mut self) -> Result<Vec<(String, String)>, String>;
    /// Removes a snapshot that nothing lies on.
    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String>;
    /// Ends all that earlier boots held against being collected: pulls that were under way, with
    /// what they had half unpacked, and pods.
    fn end_leases(&mut self) -> Result<(), String>;
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

    fn snapshots(&mut self) -> Result<Vec<(String, String)>, String> {
        Client::snapshots(self, QUESTION)
            .map_err(|error| format!("cannot list the snapshots: {error}"))
    }

    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String> {
        Client::remove_snapshot(self, snapshot, QUESTION).map_err(|error| error.to_string())
    }

    fn end_leases(&mut self) -> Result<(), String> {
        self.delete_leases(LONG)
            .map_err(|error| format!("cannot end what was being pulled at the power cut: {error}"))
    }
}
