//! Of releases: keys, and requests for files.

use builder::keys::file::{Salt, to_pem};
use builder::keys::passphrase::{Purpose, Source};
use builder::keys::{PrivateKey, Signer as _};

use super::texts;

const ROLES: &str = "schema = 1\n[root]\nthreshold = 2\nkeys = [\"a\", \"b\", \"c\"]\n\
    [targets]\nkeys = [\"c\"]\n[snapshot]\nkeys = [\"c\"]\n[timestamp]\nkeys = [\"c\"]\n\
    [key.a]\nfile = \"a.pem\"\n\
    public = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\n\
    [key.b]\npublic = \"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c\"\n\
    [key.c]\nsign-with = [\"sign\", \"c\"]\n\
    public = \"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025\"\n";

pub(crate) fn keys() -> Vec<Vec<u8>> {
    let key = PrivateKey::from_seed([7; 32].into());
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&secret, "secret").expect("a file can be written");
    let passphrase = Source::File(secret.path().to_owned()).get(Purpose::Open, secret.path());
    let passphrase = passphrase.expect("a passphrase");
    let salt = Salt { salt: [1; 16], iv: [2; 16] };
    let encrypted = to_pem(&key, Some((&passphrase, &salt)));
    texts(&[ROLES, &to_pem(&key, None), &encrypted, &key.public().to_pem()])
}

pub(crate) fn http() -> Vec<Vec<u8>> {
    texts(&[
        "GET /targets/1.0/root.zst HTTP/1.1\r\nHost: localhost:8000\r\n\
         Range: bytes=0-9, 20-29,-5\r\nIf-Range: \"1-64-0.0\"\r\n\r\n",
        "HEAD http://h/a%20b?c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
         If-None-Match: W/\"x\", \"1-64-0.0\"\r\nIf-Match: *\r\n\r\n",
        "GET /a HTTP/1.0\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         If-Unmodified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\nContent-Length: 3\r\n\r\nabc",
    ])
}
