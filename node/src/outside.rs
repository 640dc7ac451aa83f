//! The doors for fuzz targets to parsers of what others wrote, where those are private to
//! `orlop-node`. Nothing here is called by it.

use std::io::Cursor;

use crate::images::archive::Archive;

/// News of devices, page 0x83 of a SCSI disk, and the device nodes of modules.
pub fn devices(bytes: &[u8]) {
    crate::devices::outside(bytes);
}

/// An archive of a container image.
pub fn image(bytes: &[u8]) {
    let Ok(mut archive) = Archive::read(Cursor::new(bytes)) else { return };
    for name in ["index.json", "manifest.json", "oci-layout"] {
        let _ = archive.file(name, 1 << 20);
    }
}

/// What an earlier boot left: kubelet's certificate and key, the device that the config was on, a
/// database of containerd.
pub fn leftovers(bytes: &[u8]) {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = formats::kubelet::Credential::parse(text);
        let _ = crate::source::pin::Device::parse(text);
    }
    crate::crash::database::outside(bytes);
}

/// What a CNI runtime writes to `portmap`, the kernel's table of routes, and its answers.
pub fn port_map(bytes: &[u8]) {
    crate::nftables::outside(bytes);
    crate::port_map::outside(bytes);
}
