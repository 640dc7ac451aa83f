//! The A/B updater: verify, stage, trial, promote, roll back. Its place in the whole is in
//! `ARCHITECTURE.md`; what it will rely on is in `docs/disk.md`: two slots of a fixed size, two UKI
//! files whose clusters are known, and a directory of one sector that says which of them starts.
