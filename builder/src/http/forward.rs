//! An agent that asks a proxy for `http` addresses (RFC 9112, 3.2.2) instead of for a tunnel.
//!
//! `ureq` knows tunnels only. So its connections lead to the proxy, whatever the address says, and
//! on their way the first line of each request gets the server in front of the path. This is built
//! on the parts of `ureq` that may change with any release; the tests of the proxy find that out.

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};
use ureq::{Agent, Error};

/// An agent for `http` addresses whose requests all go to the proxy at `proxy`.
pub(super) fn agent(config: Config, proxy: Uri) -> Agent {
    let resolver = ToProxy { proxy, resolver: DefaultResolver::default() };
    Agent::with_parts(config, TcpConnector::default().chain(AskForAll), resolver)
}

/// Resolves the proxy's name instead of the server's, which it may be the only one to know.
#[derive(Debug)]
struct ToProxy {
    proxy: Uri,
    resolver: DefaultResolver,
}

impl Resolver for ToProxy {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.resolver.resolve(&self.proxy, config, timeout)
    }
}

#[derive(Debug)]
struct AskForAll;

impl<In: Transport> Connector<In> for AskForAll {
    type Out = Asking<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let server = details.uri.authority().map(|server| format!("http://{server}"));
        let server = server.ok_or(Error::HostNotFound)?.into_bytes();
        Ok(chained.map(|inner| Asking { inner, server }))
    }
}

/// A connection to the proxy for requests to one server.
#[derive(Debug)]
struct Asking<T> {
    inner: T,
    server: Vec<u8>,
}

impl<T: Transport> Transport for Asking<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // The head of a request comes in one piece, and nothing follows it: all of ours are GET.
        const METHOD: &[u8] = b"GET ";
        let output = self.inner.buffers().output();
        let whole = amount + self.server.len();
        if !output[..amount].starts_with(b"GET /") || whole > output.len() {
            return Err(Error::BadUri("the request does not fit".to_owned()));
        }
        let path = METHOD.len() + self.server.len();
        output.copy_within(METHOD.len()..amount, path);
        output[METHOD.len()..path].copy_from_slice(&self.server);
        self.inner.transmit_output(whole, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
