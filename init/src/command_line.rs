// replaced at merge
//! The kernel command line.
#[derive(Debug)]
pub struct CommandLine {
    pub slot: Slot,
    pub debug: bool,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    A,
    B,
    None,
}
impl CommandLine {
    pub fn read() -> std::io::Result<Result<Self, Vec<String>>> {
        Ok(Ok(Self { slot: Slot::None, debug: false }))
    }
}
