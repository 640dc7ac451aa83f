//! TCP ports of the loopback address which are known before the server starts that listens there.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

use crate::error::{Context as _, Id, Result};

/// A port that the kernel gives to nobody else who asks for any port, while this value lives.
///
/// The socket is bound and does not listen. By `SO_REUSEADDR`, which Go and QEMU set too, a server
/// that is told the number may bind it nevertheless (socket(7)), and all connections are its own.
#[derive(Debug)]
pub struct Port {
    _socket: OwnedFd,
    number: u16,
}

impl Port {
    /// Reserves any free port of 127.0.0.1.
    ///
    /// # Errors
    /// [`Id::ClusterStart`] if there is none.
    pub fn reserve() -> Result<Self> {
        let reserve = || -> rustix::io::Result<_> {
            let kind = SocketType::STREAM;
            let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
            sockopt::set_socket_reuseaddr(&socket, true)?;
            bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
            let address = SocketAddrV4::try_from(getsockname(&socket)?)?;
            Ok((socket, address.port()))
        };
        let (socket, number) =
            reserve().or_fail(Id::ClusterStart, || "cannot reserve a port of 127.0.0.1")?;
        Ok(Self { _socket: socket, number })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_server_that_is_told_the_number_gets_the_port_and_every_connection() {
        let port = Port::reserve().unwrap();
        let address = (Ipv4Addr::LOCALHOST, port.number());
        assert!(TcpStream::connect(address).is_err(), "nobody listens yet");
        for _ in 0..3 {
            let server = TcpListener::bind(address).unwrap();
            let client = TcpStream::connect(address).unwrap();
            let (_, peer) = server.accept().unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    }

    #[test]
    fn nobody_who_asks_for_any_port_gets_a_reserved_one() {
        let ports: Vec<_> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let others: Vec<_> =
            (0..50).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.extend(others.iter().map(|other| other.local_addr().unwrap().port()));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 100);
    }
}
