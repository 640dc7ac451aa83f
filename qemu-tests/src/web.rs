//! A web server on the loopback address with one page, which is away until a test gives it one.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::listener::Listener;

/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers every request with its page; without one it hangs up.
#[derive(Debug)]
pub struct Web {
    listener: Listener,
    page: Arc<Mutex<Option<String>>>,
}

impl Web {
    /// Listens on a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn away() -> io::Result<Self> {
        let page = Arc::new(Mutex::new(None));
        let ours = Arc::clone(&page);
        let listener = Listener::new(move |client| {
            let page: Option<String> = lock(&ours).clone();
            // A client that goes away has itself to blame.
            drop(page.map(|page| answer(&client, &page)));
        });
        Ok(Self { listener: listener?, page })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// From now on this is its page.
    pub fn serve(&self, page: &str) {
        *lock(&self.page) = Some(page.to_owned());
    }

    /// From now on it hangs up, as in the beginning.
    pub fn leave(&self) {
        *lock(&self.page) = None;
    }
}

fn answer(mut client: &TcpStream, page: &str) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(client).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = page.len();
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")
}

fn lock(page: &Mutex<Option<String>>) -> MutexGuard<'_, Option<String>> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::Ipv4Addr;

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
        web.leave();
        assert_eq!(get(), "");
    }
}
