//! A time server on the loopback address (RFC 5905, as SNTP uses it), silent until it is told to
//! speak.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP begins to count, to 1970.
const EPOCH: u64 = 2_208_988_800;
const PACKET: usize = 48;

/// Answers with this host's time.
#[derive(Debug)]
pub struct TimeServer {
    address: SocketAddr,
    speaks: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimeServer {
    /// Listens on a free port and says nothing.
    ///
    /// # Errors
    /// There is none.
    pub fn silent() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        let (speaks, over) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let (may_speak, ends) = (Arc::clone(&speaks), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut request = [0; PACKET];
            while let Ok((length, client)) = socket.recv_from(&mut request) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                if length == PACKET && may_speak.load(Ordering::SeqCst) {
                    // A client that does not get it asks again.
                    drop(socket.send_to(&answer(&request, now()), client));
                }
            }
        });
        Ok(Self { address, speaks, over, thread: Some(thread) })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it answers.
    pub fn speak(&self) {
        self.speaks.store(true, Ordering::SeqCst);
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let wake = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        drop(wake.and_then(|socket| socket.send_to(&[0], self.address)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a time server tells the time")]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    ((since.as_secs() + EPOCH) << 32) | fraction
}

/// Version as asked, mode 4 (server), stratum 1; the client's time comes back to it.
fn answer(request: &[u8; PACKET], now: u64) -> [u8; PACKET] {
    let mut reply = [0; PACKET];
    reply[0] = (request[0] & 0b0011_1000) | 4;
    reply[1] = 1;
    reply[12..16].copy_from_slice(b"TEST");
    let now = now.to_be_bytes();
    reply[16..24].copy_from_slice(&now);
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&now);
    reply[40..48].copy_from_slice(&now);
    reply
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_is_silent_until_it_speaks_and_returns_the_clients_time() {
        let server = TimeServer::silent().unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
        let mut request = [0; PACKET];
        request[0] = 0b0010_0011;
        request[40..48].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let ask = || {
            client.send(&request).unwrap();
            let mut reply = [0; 64];
            client.recv(&mut reply).map(|length| reply[..length].to_vec())
        };
        client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(ask().is_err());
        server.speak();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let reply = ask().unwrap();
        assert_eq!((reply.len(), reply[0], reply[1]), (PACKET, 0b0010_0100, 1));
        assert_eq!(reply[24..32], request[40..48]);
    }
}
