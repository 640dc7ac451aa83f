//! A TCP relay on the loopback address that can be switched off and on: what stands behind it is
//! away for as long as a test wants, and nothing else is.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::listener::Listener;

/// Accepts connections and, while it is on, passes them on.
#[derive(Debug)]
pub struct Relay {
    listener: Listener,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    on: bool,
    connections: Vec<TcpStream>,
}

impl Relay {
    /// Listens on a free port; connections are closed at once until [`Relay::on`].
    ///
    /// # Errors
    /// There is no port.
    pub fn new(target: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let ours = Arc::clone(&shared);
        let listener = Listener::new(move |client| {
            let mut shared = lock(&ours);
            if shared.on {
                // What fails here looks to the client as if the target were away, which it is.
                drop(connect(client, target, &mut shared.connections));
            }
        });
        Ok(Self { listener: listener?, shared })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// From now on connections are passed on.
    pub fn on(&self) {
        lock(&self.shared).on = true;
    }

    /// From now on they are refused, and those that there are end.
    pub fn off(&self) {
        let mut shared = lock(&self.shared);
        shared.on = false;
        for connection in shared.connections.drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.off();
    }
}

/// Both ways, each in a thread; `connections` can end them.
fn connect(
    client: TcpStream,
    target: SocketAddr,
    connections: &mut Vec<TcpStream>,
) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    connections.extend([client.try_clone()?, server.try_clone()?]);
    thread::spawn(move || pass(client, server));
    thread::spawn(move || pass(server_too, client_too));
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn what_stands_behind_it_is_there_only_while_it_is_on() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::new(server.local_addr().unwrap()).unwrap();
        let echo = thread::spawn(move || {
            let mut client = server.accept().unwrap().0;
            let mut byte = [0];
            while client.read(&mut byte).unwrap() == 1 {
                client.write_all(&byte).unwrap();
            }
        });
        let talk = || {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port()))?;
            client.write_all(b"x")?;
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            Ok::<_, io::Error>((client, byte))
        };
        assert!(talk().is_err());
        relay.on();
        let (mut client, byte) = talk().unwrap();
        assert_eq!(byte, *b"x");
        relay.off();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        assert!(talk().is_err());
        drop(relay);
        echo.join().unwrap();
    }
}
