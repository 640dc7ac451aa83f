//! Targets of what comes over the network, and of what the kernel and daemons say of it.

use super::*;

pub(crate) fn cri(bytes: &[u8]) {
    let _ = Client::new(Answer(bytes), 4096).version(Duration::from_secs(60));
}

pub(crate) fn dhcp(bytes: &[u8]) {
    init::outside::dhcp(bytes);
}

pub(crate) fn dhcp6(bytes: &[u8]) {
    init::outside::dhcp6(bytes, seeds::MAC);
}

pub(crate) fn dns(bytes: &[u8]) {
    init::outside::dns(bytes);
}

pub(crate) fn message(bytes: &[u8]) {
    init::outside::message(bytes);
}

pub(crate) fn netlink(bytes: &[u8]) {
    init::outside::netlink(bytes);
}

pub(crate) fn sntp(bytes: &[u8]) {
    let nonce = bytes.get(24..32).and_then(|nonce| nonce.try_into().ok()).unwrap_or([0; 8]);
    if let Some(Ok(reply)) = init::network::time::sntp::answer(bytes, nonce) {
        let _ = reply.sample(0, i128::from(u64::MAX));
    }
}
