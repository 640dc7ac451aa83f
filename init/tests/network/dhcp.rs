//! A DHCP server that knows one client and does what a test wants of it.

use std::sync::{Arc, Mutex};

use init::sys::packet;

use super::far_index;
use super::server::Running;

/// What the DHCP server is told, and what it was asked: the kinds of the messages and the names that
/// clients say.
#[derive(Default)]
pub(crate) struct Served {
    pub(crate) silent: bool,
    /// Seconds after which a lease is to be renewed, if not after half of its hour.
    pub(crate) renewal: Option<u8>,
    /// Says nothing of how long a lease is good.
    pub(crate) timeless: bool,
    /// Offers an address, and refuses it to who asks for it.
    pub(crate) refuses: bool,
    /// The last byte of the address that it gives; who asks for another one is refused.
    pub(crate) host: u8,
    pub(crate) asked: Vec<u8>,
    pub(crate) names: Vec<String>,
}

/// A DHCP server at the far end, which knows one client. Ends with the value.
pub(crate) struct Server {
    pub(crate) served: Arc<Mutex<Served>>,
    _running: Running,
}

impl Server {
    pub(crate) fn new(silent: bool) -> Self {
        let index = far_index();
        let socket = packet::open(index, 67).expect("a packet socket");
        let served = Arc::new(Mutex::new(Served { silent, host: 7, ..Served::default() }));
        let shared = Arc::clone(&served);
        let running = Running::start(socket, move |socket| {
            let mut buffer = [0; 2048];
            let flags = rustix::net::RecvFlags::empty();
            let Ok((length, _)) = rustix::net::recv(socket, &mut buffer[..], flags) else {
                return;
            };
            let mut served = shared.lock().unwrap();
            if let Some((kind, answer)) = serve(&buffer[..length], &mut served) {
                served.asked.push(kind);
                if !served.silent {
                    packet::broadcast(socket, index, &answer).expect("sent");
                }
            }
        });
        Self { served, _running: running }
    }
}

/// The value of an option in a message of our client, which has no padding between.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut options = message.get(240..)?;
    while let [code, length, rest @ ..] = options {
        let value = rest.get(..usize::from(*length))?;
        if *code == wanted {
            return Some(value);
        }
        options = &rest[value.len()..];
    }
    None
}

/// The kind of a client's packet, and the answer to it.
fn serve(packet: &[u8], served: &mut Served) -> Option<(u8, Vec<u8>)> {
    let from_client = packet.get(20..24)? == [0, 68, 0, 67];
    let question = packet.get(28..).filter(|_| from_client && packet[9] == 17)?;
    // Option 53 is the first that our client sends.
    let kind = *question.get(242)?;
    let mut answer = vec![0; 236];
    answer[..3].copy_from_slice(&[2, 1, 6]);
    answer[4..8].copy_from_slice(&question[4..8]);
    let name = option(question, 12).map(|name| String::from_utf8_lossy(name).into_owned());
    served.names.extend(name);
    let address = [10, 9, 8, served.host];
    let own = &question[12..16];
    let wanted = option(question, 50).unwrap_or(own);
    let refused = kind == 3 && (wanted != address || served.refuses);
    answer[28..34].copy_from_slice(&question[28..34]);
    answer.extend([99, 130, 83, 99, 53, 1]);
    answer.push(match kind {
        1 => 2,
        _ if refused => 6,
        _ => 5,
    });
    answer.extend([54, 4, 10, 9, 8, 1]);
    if !refused {
        answer[16..20].copy_from_slice(&address);
        answer
            .extend([1, 4, 255, 255, 255, 0, 3, 4, 10, 9, 8, 1, 6, 4, 10, 9, 8, 3, 26, 2, 5, 120]);
    }
    if !refused && !served.timeless {
        answer.extend([51, 4, 0, 0, 14, 16]);
        answer.extend(served.renewal.into_iter().flat_map(|seconds| [58, 4, 0, 0, 0, seconds]));
    }
    answer.extend([12, 6, b'w', b'o', b'r', b'k', b'e', b'r', 15, 3, b'l', b'a', b'n', 255]);
    let length = |more: usize| u16::try_from(answer.len() + more).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 8, 1]);
    // Who has an address is answered there, but for a refusal.
    packet.extend(if own == [0; 4] || refused { &[255; 4] } else { own });
    let sum = packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = sum.sum::<u32>();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0, 67, 0, 68]);
    packet.extend(length(8));
    packet.extend([0, 0]);
    packet.extend(answer);
    Some((kind, packet))
}
