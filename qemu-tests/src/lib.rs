//! Drives whole nodes in QEMU.
