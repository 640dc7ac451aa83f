//! A name server (RFC 1035) on port 53 of the loopback address of a network namespace, silent until
//! it is told to speak; then every name has one address.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How soon it notices that nobody needs it any more.
const BREATH: Duration = Duration::from_millis(200);

/// Answers with one address, whatever the name.
#[derive(Debug)]
pub struct NameServer {
    speaks: Arc<AtomicBool>,
    /// Gone, it ends.
    _alive: Arc<()>,
}

impl NameServer {
    /// Listens in that network and says nothing.
    ///
    /// # Errors
    /// The network cannot be entered, or somebody else is there.
    pub fn silent(network: File, address: Ipv4Addr) -> io::Result<Self> {
        let (speaks, alive) = (Arc::<AtomicBool>::default(), Arc::new(()));
        let (may_speak, needed) = (Arc::clone(&speaks), Arc::downgrade(&alive));
        let (ready, bound) = mpsc::channel();
        // A thread of its own: it stays in that network.
        thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            let socket = move_into_link_name_space(network.as_fd(), kind)
                .map_err(io::Error::from)
                .and_then(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)))
                .and_then(|socket| socket.set_read_timeout(Some(BREATH)).map(|()| socket));
            let socket = match socket {
                Ok(socket) => socket,
                Err(error) => return drop(ready.send(Err(error))),
            };
            drop(ready.send(Ok(())));
            let mut question = [0; 512];
            while needed.strong_count() > 0 {
                let Ok((length, client)) = socket.recv_from(&mut question) else { continue };
                if let Some(answer) = answer(&question[..length], address)
                    && may_speak.load(Ordering::SeqCst)
                {
                    // A client that does not get it asks again.
                    drop(socket.send_to(&answer, client));
                }
            }
        });
        bound.recv().map_err(io::Error::other)??;
        Ok(Self { speaks, _alive: alive })
    }

    /// From now on it answers.
    pub fn speak(&self) {
        self.speaks.store(true, Ordering::SeqCst);
    }
}

/// The question with an answer behind it if it asks for an IPv4 address, else with none.
fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let name = question.get(HEADER..)?.iter().position(|&byte| byte == 0)?;
    let end = HEADER + name + 5;
    let kind = question.get(end - 4..end)?;
    let wanted = kind == [0, 1, 0, 1];
    let mut reply = question.get(..2)?.to_vec();
    // An answer to a query that wanted recursion; one question, perhaps one answer.
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(wanted), 0, 0, 0, 0]);
    reply.extend_from_slice(question.get(HEADER..end)?);
    if wanted {
        // The name is the question's, A, IN, for a minute, 4 bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_ipv4_address_and_no_other() {
        let question = |kind| {
            let mut bytes = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0];
            bytes.extend([0, kind, 0, 1]);
            bytes
        };
        let reply = answer(&question(1), Ipv4Addr::new(10, 0, 2, 2)).unwrap();
        assert_eq!((&reply[..2], reply[7], &reply[31..]), (&[7, 9][..], 1, &[10, 0, 2, 2][..]));
        let reply = answer(&question(28), Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!((reply[7], reply.len()), (0, 19));
        assert_eq!(answer(&[0; 12], Ipv4Addr::LOCALHOST), None);
    }
}
