//! A web server on the loopback address with one page, which is away until a test gives it one.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers every request with its page; without one it hangs up.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    page: Option<String>,
    over: bool,
}

impl Web {
    /// Listens on a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn away() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let ours = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                let page = {
                    let shared = lock(&ours);
                    if shared.over {
                        return;
                    }
                    shared.page.clone()
                };
                // A client that goes away has itself to blame.
                if let (Ok(client), Some(page)) = (client, page) {
                    drop(answer(&client, &page));
                }
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on this is its page.
    pub fn serve(&self, page: &str) {
        lock(&self.shared).page = Some(page.to_owned());
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        lock(&self.shared).over = true;
        // The thread waits for a client.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(mut client: &TcpStream, page: &str) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(client).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = page.len();
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn it_hangs_up_until_it_has_a_page() {
        let web = Web::away().unwrap();
        let get = || {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, web.port())).unwrap();
            // It may hang up before it has read this.
            drop(client.write_all(b"GET /any HTTP/1.1\r\nHost: here\r\n\r\n"));
            let mut said = String::new();
            client.read_to_string(&mut said).map(|_| said).unwrap_or_default()
        };
        assert_eq!(get(), "");
        web.serve("a page");
        assert!(get().ends_with("\r\n\r\na page"));
    }
}
