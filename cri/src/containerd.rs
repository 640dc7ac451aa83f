//! Calls of containerd's own services, to bring an image in and to look at what became of it:
//! content, images, snapshots, leases. The messages are those of
//! `services/{content,images,snapshots,leases}/v1/*.proto` and `types/{descriptor,mount}.proto` of containerd/containerd, folder `api`.
//!
//! Every call needs the metadata `containerd-namespace`; what is written under a lease
//! (`containerd-lease`) is not collected as garbage while the lease exists.

use std::io::Read;
use std::time::Duration;

use crate::client::{Client, Transport};
use crate::error::{Error, Status};
use crate::protobuf::{self, Malformed, Message};

/// What names a blob: as in an OCI image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// `application/vnd.oci.image.manifest.v1+json`.
    pub media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

/// Whether something had to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was.
    New,
    /// It was there before.
    Existed,
}

/// What the CRI unpacks with.
const SNAPSHOTTER: &str = "overlayfs";
/// `WRITE` and `COMMIT` of `WriteAction`.
const WRITE: u64 = 1;
const COMMIT: u64 = 2;
/// Of one message: containerd takes 16 MiB.
const CHUNK: usize = 256 * 1024;

impl<T: Transport> Client<T> {
    /// `Leases.Create`.
    ///
    /// # Errors
    /// Those of the call; [`Status::ALREADY_EXISTS`] if there is a lease of that name.
    pub fn create_lease(&mut self, id: &str, limit: Duration) -> Result<(), Error> {
        let request = Message::new().text(1, id);
        let path = "/containerd.services.leases.v1.Leases/Create";
        self.unary(path, request.as_bytes(), limit).map(drop)
    }

    /// `Leases.Delete`.
    ///
    /// # Errors
    /// Those of the call; one that does not exist is none.
    pub fn delete_lease(&mut self, id: &str, limit: Duration) -> Result<(), Error> {
        let request = Message::new().text(1, id);
        let path = "/containerd.services.leases.v1.Leases/Delete";
        match self.unary(path, request.as_bytes(), limit) {
            Err(error) if error.is(Status::NOT_FOUND) => Ok(()),
            other => other.map(drop),
        }
    }

    /// `Leases.List` and `Leases.Delete`: all of them, and what only they kept is collected before
    /// the call returns (`sync`).
    ///
    /// # Errors
    /// Those of the calls; one that does not exist any more is none.
    pub fn delete_leases(&mut self, limit: Duration) -> Result<(), Error> {
        let list = self.unary("/containerd.services.leases.v1.Leases/List", &[], limit)?;
        let leases = read_leases(&list)?;
        let path = "/containerd.services.leases.v1.Leases/Delete";
        for (at, lease) in leases.iter().enumerate() {
            // Once is enough: it is all of the garbage that is collected.
            let sync = u64::from(at + 1 == leases.len());
            self.remove(path, Message::new().text(1, lease).number(2, sync), limit)?;
        }
        Ok(())
    }

    /// `Content.Write`: writes the blob which `descriptor` names out of `bytes`. containerd checks
    /// size and digest, and a blob that it refuses does not exist. With `labels` a blob keeps
    /// those which it names from being collected.
    ///
    /// # Errors
    /// Those of the call, and of reading `bytes`.
    pub fn write_blob(
        &mut self,
        descriptor: &Descriptor,
        labels: &[(String, String)],
        bytes: &mut impl Read,
        limit: Duration,
    ) -> Result<Made, Error> {
        let path = "/containerd.services.content.v1.Content/Write";
        let mut call = self.call(path, Some(limit))?;
        let reference = format!("orlop-{}", descriptor.digest);
        let message = || {
            let message = Message::new().text(2, &reference).number(3, descriptor.size);
            message.text(4, &descriptor.digest)
        };
        let mut offset = 0;
        let mut buffer = vec![0; CHUNK];
        let result = loop {
            let length = fill(bytes, &mut buffer)?;
            let last = length < CHUNK;
            let action = if last { COMMIT } else { WRITE };
            let mut request = message().number(1, action).number(5, offset);
            request = request.bytes(6, &buffer[..length]);
            if last {
                request = labels.iter().fold(request, |r, (name, value)| r.entry(7, name, value));
            }
            call.send(request.as_bytes(), last)?;
            offset += length as u64;
            match call.receive() {
                Ok(Some(_)) if last => break call.receive().map(drop),
                Ok(Some(_)) => {}
                Ok(None) => break Err(Error::Protocol("the call succeeded without a message")),
                Err(error) => break Err(error),
            }
        };
        match result {
            Ok(()) => Ok(Made::New),
            Err(error) if error.is(Status::ALREADY_EXISTS) => Ok(Made::Existed),
            Err(error) => Err(error),
        }
    }

    /// `Content.Write` without a byte: of a blob whose file is in the content store already, under its name
    /// and with its size. containerd then knows it in our namespace, with `labels`, and does not read it.
    /// Nothing comes of it where the file is not there, or namespaces share no content
    /// (`content_sharing_policy`).
    ///
    /// # Errors
    /// There is no answer.
    pub fn adopt_blob(
        &mut self,
        descriptor: &Descriptor,
        labels: &[(String, String)],
        limit: Duration,
    ) -> Result<Option<Made>, Error> {
        let path = "/containerd.services.content.v1.Content/Write";
        let mut call = self.call(path, Some(limit))?;
        let reference = format!("orlop-{}", descriptor.digest);
        // The offset says that all of it is written. What has begun a blob anew refuses that.
        let request = Message::new()
            .number(1, COMMIT)
            .text(2, &reference)
            .number(3, descriptor.size)
            .text(4, &descriptor.digest)
            .number(5, descriptor.size);
        let request = labels.iter().fold(request, |r, (name, value)| r.entry(7, name, value));
        call.send(request.as_bytes(), true)?;
        let result = match call.receive() {
            Ok(Some(_)) => call.receive().map(drop),
            Ok(None) => Err(Error::Protocol("the call succeeded without a message")),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => Ok(Some(Made::New)),
            Err(error) if error.is(Status::ALREADY_EXISTS) => Ok(Some(Made::Existed)),
            Err(error) if error.is_no_answer() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// `Images.Get`: what an image's name points to, if there is one of that name.
    ///
    /// # Errors
    /// Those of the call.
    pub fn image_target(
        &mut self,
        name: &str,
        limit: Duration,
    ) -> Result<Option<Descriptor>, Error> {
        let request = Message::new().text(1, name);
        let path = "/containerd.services.images.v1.Images/Get";
        match self.unary(path, request.as_bytes(), limit) {
            Ok(response) => Ok(Some(read_target(&response)?)),
            Err(error) if error.is(Status::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `Images.List`: the name of each image, and what it points to.
    ///
    /// # Errors
    /// Those of the call.
    pub fn images(&mut self, limit: Duration) -> Result<Vec<(String, Descriptor)>, Error> {
        let response = self.unary("/containerd.services.images.v1.Images/List", &[], limit)?;
        Ok(read_images(&response)?)
    }

    /// `Images.Delete`: the name, and what it points to if nothing else does, which is collected
    /// before the call returns (`sync`).
    ///
    /// # Errors
    /// Those of the call; one that does not exist is none.
    pub fn delete_image(&mut self, name: &str, limit: Duration) -> Result<(), Error> {
        self.remove(
            "/containerd.services.images.v1.Images/Delete",
            Message::new().text(1, name).number(2, 1),
            limit,
        )
    }

    /// `Content.Delete`: what is known of a blob.
    ///
    /// # Errors
    /// Those of the call; one that does not exist is none.
    pub fn delete_blob(&mut self, digest: &str, limit: Duration) -> Result<(), Error> {
        let request = Message::new().text(1, digest);
        self.remove("/containerd.services.content.v1.Content/Delete", request, limit)
    }

    /// `Snapshots.View` under the name `key`: the directories of the snapshot `parent` and of those
    /// below it, the uppermost first; nothing if there is no such snapshot.
    ///
    /// # Errors
    /// Those of the call.
    pub fn view_snapshot(
        &mut self,
        key: &str,
        parent: &str,
        limit: Duration,
    ) -> Result<Option<Vec<String>>, Error> {
        let request = Message::new().text(1, SNAPSHOTTER).text(2, key).text(3, parent);
        let path = "/containerd.services.snapshots.v1.Snapshots/View";
        match self.unary(path, request.as_bytes(), limit) {
            Ok(response) => Ok(Some(read_directories(&response)?)),
            Err(error) if error.is(Status::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `Snapshots.List`: the name of each snapshot, and of the one that it lies on; empty if it lies
    /// on none.
    ///
    /// # Errors
    /// Those of the call.
    pub fn snapshots(&mut self, limit: Duration) -> Result<Vec<(String, String)>, Error> {
        let request = Message::new().text(1, SNAPSHOTTER);
        let path = "/containerd.services.snapshots.v1.Snapshots/List";
        let mut call = self.call(path, Some(limit))?;
        call.send(request.as_bytes(), true)?;
        let mut snapshots = Vec::new();
        // Some in each message.
        while let Some(response) = call.receive()? {
            snapshots.extend(read_snapshots(&response)?);
        }
        Ok(snapshots)
    }

    /// `Snapshots.Remove`.
    ///
    /// # Errors
    /// Those of the call, also when another snapshot lies on it; one that does not exist is none.
    pub fn remove_snapshot(&mut self, key: &str, limit: Duration) -> Result<(), Error> {
        let request = Message::new().text(1, SNAPSHOTTER).text(2, key);
        self.remove("/containerd.services.snapshots.v1.Snapshots/Remove", request, limit)
    }

    /// That it is not there is what was wanted.
    fn remove(&mut self, path: &str, request: Message, limit: Duration) -> Result<(), Error> {
        match self.unary(path, request.as_bytes(), limit) {
            Err(error) if error.is(Status::NOT_FOUND) => Ok(()),
            other => other.map(drop),
        }
    }

    /// `Images.Create`, or `Images.Update` if there is one of that name: lets it point to `target`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn put_image(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        target: &Descriptor,
        limit: Duration,
    ) -> Result<(), Error> {
        let descriptor = Message::new()
            .text(1, &target.media_type)
            .text(2, &target.digest)
            .number(3, target.size);
        let image = labels
            .iter()
            .fold(Message::new().text(1, name), |image, (name, value)| image.entry(2, name, value))
            .message(3, &descriptor);
        // Without an update mask all of it is replaced.
        let request = Message::new().message(1, &image);
        let path = "/containerd.services.images.v1.Images/Create";
        match self.unary(path, request.as_bytes(), limit) {
            Err(error) if error.is(Status::ALREADY_EXISTS) => {
                let path = "/containerd.services.images.v1.Images/Update";
                self.unary(path, request.as_bytes(), limit).map(drop)
            }
            other => other.map(drop),
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(bytes: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut length = 0;
    while length < buffer.len() {
        match bytes.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Io(error)),
        }
    }
    Ok(length)
}

/// `ListResponse` of `Leases`: each field 1 is a lease, of which field 1 is the id.
fn read_leases(message: &[u8]) -> Result<Vec<String>, Malformed> {
    let id = |lease: &[u8]| {
        let mut id = String::new();
        protobuf::each(lease, |field, value| {
            if field == 1 {
                id = value.text();
            }
        })?;
        Ok(id)
    };
    protobuf::list(message, id)
}

/// `GetImageResponse`: field 1 is the image.
fn read_target(message: &[u8]) -> Result<Descriptor, Malformed> {
    Ok(read_images(message)?.pop().map(|(_, target)| target).unwrap_or_default())
}

/// `ListImagesResponse`: each field 1 is an image; of that field 1 is the name, field 3 the target.
fn read_images(message: &[u8]) -> Result<Vec<(String, Descriptor)>, Malformed> {
    let read = |image: &[u8]| {
        let (mut name, mut target) = (String::new(), Descriptor::default());
        let mut bytes = Vec::new();
        protobuf::each(image, |field, value| match field {
            1 => name = value.text(),
            3 => bytes = value.bytes().to_vec(),
            _ => {}
        })?;
        protobuf::each(&bytes, |field, value| match field {
            1 => target.media_type = value.text(),
            2 => target.digest = value.text(),
            3 => target.size = value.number(),
            _ => {}
        })?;
        Ok((name, target))
    };
    protobuf::list(message, read)
}

/// `ListSnapshotsResponse`: each field 1 is a snapshot; of that field 1 is the name, field 2 what it
/// lies on.
fn read_snapshots(message: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let read = |snapshot: &[u8]| {
        let (mut name, mut below) = (String::new(), String::new());
        protobuf::each(snapshot, |field, value| match field {
            1 => name = value.text(),
            2 => below = value.text(),
            _ => {}
        })?;
        Ok((name, below))
    };
    protobuf::list(message, read)
}

/// `ViewSnapshotResponse`: each field 1 is a mount (`types/mount.proto`): of that field 2 is the
/// source, if it is one directory, and an option names several.
fn read_directories(message: &[u8]) -> Result<Vec<String>, Malformed> {
    let read = |mount: &[u8]| {
        let (mut source, mut lower) = (String::new(), None);
        protobuf::each(mount, |field, value| match field {
            2 => source = value.text(),
            4 => {
                let option = value.text();
                let list = option.strip_prefix("lowerdir=").map(str::to_owned);
                lower = list.or(lower.take());
            }
            _ => {}
        })?;
        let list = lower.unwrap_or(source);
        Ok(list.split(':').map(str::to_owned).collect::<Vec<_>>())
    };
    Ok(protobuf::list(message, read)?.concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_target_of_an_image_is_read() {
        let target = Message::new().text(1, "type").text(2, "sha256:aa").number(3, 300);
        let image = Message::new().text(1, "name").entry(2, "a", "b").message(3, &target);
        let response = Message::new().message(1, &image);
        let want = Descriptor { media_type: "type".into(), digest: "sha256:aa".into(), size: 300 };
        assert_eq!(read_target(response.as_bytes()), Ok(want));
    }

    #[test]
    fn the_names_of_leases_are_read() {
        let time = Message::new().number(1, 1_795_000_000);
        let lease = |id| Message::new().text(1, id).message(2, &time).entry(3, "a", "b");
        let list = Message::new().message(1, &lease("one")).message(1, &lease("two"));
        assert_eq!(read_leases(list.as_bytes()), Ok(vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(read_leases(&[]), Ok(Vec::new()));
    }

    #[test]
    fn what_a_snapshot_lies_on_is_read() {
        let time = Message::new().number(1, 1_795_000_000);
        let layer = Message::new().text(1, "sha256:a").number(3, 3).message(4, &time);
        let container = Message::new().text(1, "c").text(2, "sha256:a").number(3, 2);
        let list = Message::new().message(1, &layer).message(1, &container.entry(6, "x", "y"));
        let want = [("sha256:a", ""), ("c", "sha256:a")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(read_snapshots(list.as_bytes()), Ok(want.to_vec()));
        assert_eq!(read_snapshots(&[]), Ok(Vec::new()));
    }

    #[test]
    fn the_directories_of_a_snapshot_are_read_of_one_and_of_several() {
        let bind = Message::new().text(1, "bind").text(2, "/s/1/fs").text(4, "ro").text(4, "rbind");
        let overlay = Message::new().text(1, "overlay").text(2, "overlay").text(4, "index=off");
        let overlay = overlay.text(4, "lowerdir=/s/2/fs:/s/1/fs").text(4, "userxattr");
        for (mount, want) in [(bind, vec!["/s/1/fs"]), (overlay, vec!["/s/2/fs", "/s/1/fs"])] {
            let response = Message::new().message(1, &mount);
            assert_eq!(
                read_directories(response.as_bytes()),
                Ok(want.iter().map(|d| (*d).to_owned()).collect())
            );
        }
        assert_eq!(read_directories(&[]), Ok(Vec::new()));
    }

    #[test]
    fn short_reads_are_put_together() {
        struct Slow(u8);
        impl Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let Some(left) = self.0.checked_sub(1) else { return Ok(0) };
                self.0 = left;
                buffer[0] = left;
                Ok(1)
            }
        }
        let mut buffer = [9; 5];
        assert_eq!(fill(&mut Slow(3), &mut buffer).expect("read"), 3);
        assert_eq!(buffer, [2, 1, 0, 9, 9]);
        assert_eq!(fill(&mut Slow(30), &mut buffer).expect("read"), 5);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_target(&bytes);
            let _ = read_directories(&bytes);
            let _ = read_snapshots(&bytes);
            let _ = read_leases(&bytes);
        }
    }
}
