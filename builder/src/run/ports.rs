//! Whether the ports that lead to the guest can be had, in our words and before anything starts.
//! QEMU says the same in its own, after a build.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Id, Result};
use crate::run::Forward;

/// Checks all ports at once.
///
/// # Errors
/// [`Id::PortTwice`], [`Id::PortTaken`].
pub fn check(forward: &[Forward]) -> Result<()> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = forward.iter().find(|forward| !seen.insert(forward.host)) {
        let port = twice.host;
        return Err(Error::new(
            Id::PortTwice,
            format!("port {port} of this host is forwarded twice"),
        )
        .hint("give each `--forward` a port of the host of its own"));
    }
    for forward in forward {
        let port = forward.host;
        let error = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => continue,
            Err(error) => error,
        };
        let message = format!("cannot forward port {port} of this host to the guest");
        let hint = match error.kind() {
            ErrorKind::AddrInUse => {
                "another program listens there: `ss -ltnp` names it, or take another port"
            }
            ErrorKind::PermissionDenied => "take a port above 1023: those below are for root",
            _ => "take another port",
        };
        return Err(Error::new(Id::PortTaken, message).caused_by(error).hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_or_given_twice_is_told_by_its_number() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let forward = |host| Forward { host, guest: 80 };
        let error = check(&[forward(port)]).unwrap_err();
        assert_eq!(error.id(), Id::PortTaken);
        assert!(error.chain().starts_with(&format!("cannot forward port {port} of this host")));
        assert!(error.hints()[0].starts_with("another program listens there"));
        drop(taken);
        check(&[forward(port)]).unwrap();
        let error = check(&[forward(port), Forward { host: port, guest: 81 }]).unwrap_err();
        assert_eq!(error.id(), Id::PortTwice);
        assert_eq!(error.to_string(), format!("port {port} of this host is forwarded twice"));
    }
}
