//! Name servers, with the link on which those are found that no other link knows.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A name server as it stands in `resolv.conf`: `192.0.2.53`, or `fe80::1%eth0`, for a link-local
/// address says nothing without its link (RFC 4007, section 11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its address.
    pub address: IpAddr,
    /// The kernel's name of the link that a link-local address is of.
    pub link: Option<String>,
}

impl From<IpAddr> for NameServer {
    fn from(address: IpAddr) -> Self {
        Self { address, link: None }
    }
}

impl FromStr for NameServer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, link) = match text.split_once('%') {
            Some((address, link)) => (address, Some(link.to_owned())),
            None => (text, None),
        };
        Ok(Self { address: address.parse().map_err(drop)?, link })
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match &self.link {
            Some(link) => write!(f, "%{link}"),
            None => Ok(()),
        }
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
