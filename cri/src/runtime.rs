//! Calls of the Container Runtime Interface, service `runtime.v1.RuntimeService` and
//! `runtime.v1.ImageService`; the messages are those of `pkg/apis/runtime/v1/api.proto` of
//! kubernetes/cri-api.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::client::{Call, Client, Transport};
use crate::error::Error;
use crate::protobuf::{self, Malformed, Message};

/// What a runtime says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// `containerd`.
    pub runtime: String,
    /// `v2.4.2`.
    pub version: String,
    /// `v1`: the version of the CRI.
    pub api: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CRI {} {} {}", self.api, self.runtime, self.version)
    }
}

/// Something happened to a container, the one of a pod's sandbox included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container's id.
    pub container: String,
    /// `ContainerEventType`; see [`ContainerEvent::STARTED`].
    pub kind: u64,
    /// The id of the pod's sandbox.
    pub sandbox: String,
}

impl ContainerEvent {
    /// `CONTAINER_STARTED_EVENT`.
    pub const STARTED: u64 = 1;
}

/// A container, as a list shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The id of its pod's sandbox.
    pub sandbox: String,
    /// Its name in the pod.
    pub name: String,
    /// Whose it is, as kubelet labels it.
    pub labels: BTreeMap<String, String>,
    /// What kubelet noted with it.
    pub annotations: BTreeMap<String, String>,
}

/// A pod's sandbox, as a list shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// The pod's name.
    pub name: String,
    /// The pod's namespace.
    pub namespace: String,
}

/// How a command in a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status.
    pub status: u64,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// `CONTAINER_RUNNING`.
const RUNNING: u64 = 1;

impl<T: Transport> Client<T> {
    /// `Version`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn version(&mut self, limit: Duration) -> Result<Version, Error> {
        let request = Message::new().text(1, "v1");
        let path = "/runtime.v1.RuntimeService/Version";
        let response = self.unary(path, request.as_bytes(), limit)?;
        let version = read_version(&response)?;
        if version.runtime.is_empty() || version.version.is_empty() {
            return Err(Error::Protocol("the runtime has no name or version"));
        }
        Ok(version)
    }

    /// `Status`: the names of the ways to start a pod that the runtime knows, but for the default one, which
    /// has none.
    ///
    /// # Errors
    /// Those of the call.
    pub fn handlers(&mut self, limit: Duration) -> Result<Vec<String>, Error> {
        let path = "/runtime.v1.RuntimeService/Status";
        let response = self.unary(path, Message::new().as_bytes(), limit)?;
        Ok(read_handlers(&response)?)
    }

    /// `GetContainerEvents`: what happens from now on, for as long as the runtime lives.
    ///
    /// # Errors
    /// Those of the call.
    pub fn container_events(&mut self) -> Result<Events<'_, T>, Error> {
        let mut call = self.call("/runtime.v1.RuntimeService/GetContainerEvents", None)?;
        call.send(&[], true)?;
        Ok(Events(call))
    }

    /// `ListContainers`: those that run.
    ///
    /// # Errors
    /// Those of the call.
    pub fn running_containers(&mut self, limit: Duration) -> Result<Vec<Container>, Error> {
        let state = Message::new().number(1, RUNNING);
        let request = Message::new().message(1, &Message::new().message(2, &state));
        let path = "/runtime.v1.RuntimeService/ListContainers";
        let response = self.unary(path, request.as_bytes(), limit)?;
        Ok(protobuf::list(&response, read_container)?)
    }

    /// `StopContainer`: with a signal, and `SIGKILL` after `grace`, in whole seconds.
    ///
    /// # Errors
    /// Those of the call.
    pub fn stop_container(
        &mut self,
        id: &str,
        grace: Duration,
        limit: Duration,
    ) -> Result<(), Error> {
        let request = Message::new().text(1, id).number(2, grace.as_secs());
        let path = "/runtime.v1.RuntimeService/StopContainer";
        self.unary(path, request.as_bytes(), limit).map(drop)
    }

    /// `ExecSync`: runs a command in a container and waits for its end, for at most `time`, in
    /// whole seconds.
    ///
    /// # Errors
    /// Those of the call.
    pub fn exec(
        &mut self,
        id: &str,
        command: &[String],
        time: Duration,
        limit: Duration,
    ) -> Result<Ended, Error> {
        // A word may be empty, and a field that is left out would be no word.
        let word = |request: Message, word: &String| match word.as_str() {
            "" => request.message(2, &Message::new()),
            word => request.text(2, word),
        };
        let request = command.iter().fold(Message::new().text(1, id), word);
        let request = request.number(3, time.as_secs());
        let path = "/runtime.v1.RuntimeService/ExecSync";
        Ok(read_ended(&self.unary(path, request.as_bytes(), limit)?)?)
    }

    /// `PodSandboxStatus`: the first address of a pod; none if it is in the host's network.
    ///
    /// # Errors
    /// Those of the call.
    pub fn sandbox_address(&mut self, id: &str, limit: Duration) -> Result<Option<String>, Error> {
        let request = Message::new().text(1, id);
        let path = "/runtime.v1.RuntimeService/PodSandboxStatus";
        Ok(read_address(&self.unary(path, request.as_bytes(), limit)?)?)
    }

    /// `ListPodSandbox`: those that are ready.
    ///
    /// # Errors
    /// Those of the call.
    pub fn ready_sandboxes(&mut self, limit: Duration) -> Result<Vec<Sandbox>, Error> {
        // `SANDBOX_READY` is 0, so the message which holds it is empty.
        let filter = Message::new().message(2, &Message::new());
        let request = Message::new().message(1, &filter);
        let path = "/runtime.v1.RuntimeService/ListPodSandbox";
        let response = self.unary(path, request.as_bytes(), limit)?;
        Ok(protobuf::list(&response, read_sandbox)?)
    }

    /// `StopPodSandbox`: kills what runs in it, and takes its network down.
    ///
    /// # Errors
    /// Those of the call.
    pub fn stop_sandbox(&mut self, id: &str, limit: Duration) -> Result<(), Error> {
        let request = Message::new().text(1, id);
        let path = "/runtime.v1.RuntimeService/StopPodSandbox";
        self.unary(path, request.as_bytes(), limit).map(drop)
    }

    /// `ImageStatus`: the id of the image which a pod would get by this name, if it is there.
    ///
    /// # Errors
    /// Those of the call.
    pub fn image(&mut self, name: &str, limit: Duration) -> Result<Option<String>, Error> {
        let request = Message::new().message(1, &Message::new().text(1, name));
        let path = "/runtime.v1.ImageService/ImageStatus";
        let response = self.unary(path, request.as_bytes(), limit)?;
        Ok(read_image(&response)?)
    }
}

/// What happens to containers.
#[derive(Debug)]
pub struct Events<'a, T>(Call<'a, T>);

impl<T: Transport> Events<'_, T> {
    /// Waits for the next one; `None` when the runtime ends.
    ///
    /// # Errors
    /// Those of the call.
    pub fn next_event(&mut self) -> Result<Option<ContainerEvent>, Error> {
        match self.0.receive()? {
            Some(message) => Ok(Some(read_event(&message)?)),
            None => Ok(None),
        }
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::Protocol("the message is malformed")
    }
}

fn read_handlers(message: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut handlers = Vec::new();
    protobuf::each(message, |field, value| {
        if field == 3 {
            handlers.push(value.bytes());
        }
    })?;
    let name = |handler| {
        let mut name = String::new();
        protobuf::each(handler, |field, value| {
            if field == 1 {
                name = value.text();
            }
        })?;
        Ok(name)
    };
    let names = handlers.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().filter(|name| !name.is_empty()).collect())
}

fn read_version(message: &[u8]) -> Result<Version, Malformed> {
    let mut version = Version::default();
    protobuf::each(message, |field, value| match field {
        2 => version.runtime = value.text(),
        3 => version.version = value.text(),
        4 => version.api = value.text(),
        _ => {}
    })?;
    Ok(version)
}

fn read_event(message: &[u8]) -> Result<ContainerEvent, Malformed> {
    let mut event = ContainerEvent::default();
    let mut sandbox = &[][..];
    protobuf::each(message, |field, value| match field {
        1 => event.container = value.text(),
        2 => event.kind = value.number(),
        4 => sandbox = value.bytes(),
        _ => {}
    })?;
    protobuf::each(sandbox, |field, value| {
        if field == 1 {
            event.sandbox = value.text();
        }
    })?;
    Ok(event)
}

fn read_container(message: &[u8]) -> Result<Container, Malformed> {
    let mut container = Container::default();
    let (mut metadata, mut labels, mut annotations) = (&[][..], Vec::new(), Vec::new());
    protobuf::each(message, |field, value| match field {
        1 => container.id = value.text(),
        2 => container.sandbox = value.text(),
        3 => metadata = value.bytes(),
        8 => labels.push(value.bytes()),
        9 => annotations.push(value.bytes()),
        _ => {}
    })?;
    protobuf::each(metadata, |field, value| {
        if field == 1 {
            container.name = value.text();
        }
    })?;
    container.labels = labels.into_iter().map(protobuf::entry).collect::<Result<_, _>>()?;
    container.annotations =
        annotations.into_iter().map(protobuf::entry).collect::<Result<_, _>>()?;
    Ok(container)
}

fn read_sandbox(message: &[u8]) -> Result<Sandbox, Malformed> {
    let mut sandbox = Sandbox::default();
    let mut metadata = &[][..];
    protobuf::each(message, |field, value| match field {
        1 => sandbox.id = value.text(),
        2 => metadata = value.bytes(),
        _ => {}
    })?;
    protobuf::each(metadata, |field, value| match field {
        1 => sandbox.name = value.text(),
        3 => sandbox.namespace = value.text(),
        _ => {}
    })?;
    Ok(sandbox)
}

fn read_ended(message: &[u8]) -> Result<Ended, Malformed> {
    let mut ended = Ended::default();
    protobuf::each(message, |field, value| match field {
        2 => ended.stderr = value.text(),
        3 => ended.status = value.number(),
        _ => {}
    })?;
    Ok(ended)
}

fn read_address(message: &[u8]) -> Result<Option<String>, Malformed> {
    let mut status = &[][..];
    protobuf::each(message, |field, value| {
        if field == 1 {
            status = value.bytes();
        }
    })?;
    let mut network = &[][..];
    protobuf::each(status, |field, value| {
        if field == 5 {
            network = value.bytes();
        }
    })?;
    let mut address = None;
    protobuf::each(network, |field, value| {
        if field == 1 {
            address = Some(value.text()).filter(|text| !text.is_empty());
        }
    })?;
    Ok(address)
}

fn read_image(message: &[u8]) -> Result<Option<String>, Malformed> {
    let mut image = None;
    protobuf::each(message, |field, value| {
        if field == 1 {
            image = Some(value.bytes());
        }
    })?;
    let Some(image) = image else { return Ok(None) };
    let mut id = String::new();
    protobuf::each(image, |field, value| {
        if field == 1 {
            id = value.text();
        }
    })?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_version_is_read_and_told_in_one_line() {
        let message = Message::new().text(1, "0.1.0").text(2, "containerd").text(3, "v2.4.2");
        let version = read_version(message.text(4, "v1").as_bytes()).expect("a version");
        assert_eq!(version.to_string(), "CRI v1 containerd v2.4.2");
    }

    #[test]
    fn the_handlers_of_a_runtime_are_read_without_the_default_one() {
        let handler = |name| Message::new().text(1, name);
        let status = Message::new().message(1, &handler("conditions"));
        let status = status.message(3, &handler("")).message(3, &handler("kata"));
        let handlers = read_handlers(status.message(3, &handler("runc")).as_bytes());
        assert_eq!(handlers.expect("a status"), ["kata", "runc"]);
    }

    #[test]
    fn the_end_of_a_command_and_the_address_of_a_pod_are_read() {
        let message = Message::new().text(1, "out").text(2, "not found").number(3, 127);
        let want = Ended { status: 127, stderr: "not found".into() };
        assert_eq!(read_ended(message.as_bytes()).expect("an end"), want);

        let status = |address| {
            let network = Message::new().text(1, address);
            Message::new().message(1, &Message::new().text(1, "id").message(5, &network))
        };
        let read = |message: &Message| read_address(message.as_bytes()).expect("a status");
        assert_eq!(read(&status("10.88.0.2")).as_deref(), Some("10.88.0.2"));
        assert_eq!(read(&status("")), None);
        assert_eq!(read(&Message::new()), None);
    }

    #[test]
    fn an_event_tells_the_container_from_its_sandbox() {
        let sandbox = Message::new().text(1, "pod").message(2, &Message::new().text(1, "name"));
        let message = Message::new().text(1, "c").number(2, 1).number(3, 1 << 60);
        let event = read_event(message.message(4, &sandbox).as_bytes()).expect("an event");
        let want = ContainerEvent {
            container: "c".into(),
            kind: ContainerEvent::STARTED,
            sandbox: "pod".into(),
        };
        assert_eq!(event, want);
    }

    #[test]
    fn lists_are_read_with_what_kubelet_noted() {
        let grace = ("io.kubernetes.pod.terminationGracePeriod", "30");
        let container = Message::new()
            .text(1, "c")
            .text(2, "pod")
            .message(3, &Message::new().text(1, "web").number(2, 4))
            .number(6, 1)
            .entry(8, "label", "x")
            .entry(9, grace.0, grace.1);
        let list = Message::new().message(1, &container).message(1, &Message::new());
        let read = protobuf::list(list.as_bytes(), read_container).expect("a list");
        let annotations = [(grace.0.to_owned(), grace.1.to_owned())].into();
        let want = Container {
            id: "c".into(),
            sandbox: "pod".into(),
            name: "web".into(),
            labels: [("label".to_owned(), "x".to_owned())].into(),
            annotations,
        };
        assert_eq!(read, [want, Container::default()]);

        let metadata = Message::new().text(1, "web").text(2, "uid").text(3, "default");
        let sandbox = Message::new().text(1, "pod").message(2, &metadata);
        let list = Message::new().message(1, &sandbox);
        let want = Sandbox { id: "pod".into(), name: "web".into(), namespace: "default".into() };
        assert_eq!(protobuf::list(list.as_bytes(), read_sandbox).expect("a list"), [want]);
    }

    #[test]
    fn an_image_that_is_not_there_is_no_error() {
        assert_eq!(read_image(&[]), Ok(None));
        let message = Message::new().message(1, &Message::new().text(1, "sha256:x"));
        assert_eq!(read_image(message.as_bytes()), Ok(Some("sha256:x".to_owned())));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_version(&bytes);
            let _ = read_event(&bytes);
            let _ = protobuf::list(&bytes, read_container);
            let _ = protobuf::list(&bytes, read_sandbox);
            let _ = read_image(&bytes);
            let _ = read_ended(&bytes);
            let _ = read_address(&bytes);
        }
    }
}
