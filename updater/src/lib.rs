//! The A/B updater: verify, stage, trial, promote, roll back. Its place is here; see design in `ARCHITECTURE.md`.
