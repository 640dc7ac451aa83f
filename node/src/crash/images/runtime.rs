//! What is asked of containerd, and told to it, to make images good.

use std::time::Duration;

use cri::containerd::Descriptor;
use cri::{Client, Transport};

use crate::images::QUESTION;
use crate::pods;

/// Something of an earlier boot, which runs no more.
#[derive(Debug, Clone)]
pub(crate) struct Remains {
    pub(crate) id: String,
    /// For people: `container default/web-0/main`.
    pub(crate) name: String,
}

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
    /// Ends all that earlier boots held against being collected: pulls that were under way, with
    /// what they had half unpacked, and pods.
    fn end_leases(&mut self) -> Result<(), String>;
    /// The containers of earlier boots: each has a snapshot that lies on one of its image.
    fn containers(&mut self) -> Result<Vec<Remains>, String>;
    /// Removes a container.
    fn remove_container(&mut self, id: &str) -> Result<(), String>;
    /// The pods of earlier boots, each with a snapshot of its own.
    fn pods(&mut self) -> Result<Vec<Remains>, String>;
    /// Takes a pod's network down and removes it, within this time.
    fn remove_pod(&mut self, id: &str, time: Duration) -> Result<(), String>;
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

    fn end_leases(&mut self) -> Result<(), String> {
        self.delete_leases(LONG)
            .map_err(|error| format!("cannot end what was being pulled at the power cut: {error}"))
    }

    fn containers(&mut self) -> Result<Vec<Remains>, String> {
        let containers = Client::containers(self, QUESTION);
        let containers =
            containers.map_err(|error| format!("cannot list the containers: {error}"))?;
        let remains = containers.into_iter().map(|container| Remains {
            name: format!("container {}", pods::name(&container)),
            id: container.id,
        });
        Ok(remains.collect())
    }

    fn remove_container(&mut self, id: &str) -> Result<(), String> {
        Client::remove_container(self, id, LONG).map_err(|error| error.to_string())
    }

    fn pods(&mut self) -> Result<Vec<Remains>, String> {
        let sandboxes = self.sandboxes(QUESTION);
        let sandboxes = sandboxes.map_err(|error| format!("cannot list the pods: {error}"))?;
        let remains = sandboxes.into_iter().map(|sandbox| Remains {
            name: format!("pod {}/{}", sandbox.namespace, sandbox.name),
            id: sandbox.id,
        });
        Ok(remains.collect())
    }

    fn remove_pod(&mut self, id: &str, time: Duration) -> Result<(), String> {
        let time = time.min(LONG);
        self.stop_sandbox(id, time)
            .and_then(|()| self.remove_sandbox(id, time))
            .map_err(|error| error.to_string())
    }
}
