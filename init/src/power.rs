// replaced at merge
//! The power button.
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
#[derive(Debug)]
pub struct Button(OwnedFd);
impl Button {
    pub fn open_all() -> std::io::Result<Vec<Self>> {
        Ok(Vec::new())
    }
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    pub fn pressed(&mut self) -> std::io::Result<bool> {
        Ok(false)
    }
}
