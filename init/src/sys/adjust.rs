//! Changing the clock by a difference and saying how good it is (adjtimex(2)): `rustix` can only set
//! it, and between reading and setting it would lose time.
#![allow(unsafe_code)]

use std::io;

const SECOND: i128 = 1_000_000_000;

/// Sets the clock forward by so many nanoseconds, or back if negative.
///
/// # Errors
/// Without `CAP_SYS_TIME`, or if the kernel's clock cannot show the result.
pub fn step(nanoseconds: i128) -> io::Result<()> {
    let (seconds, rest) = (nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND));
    // With `ADJ_NANO` the field for microseconds takes nanoseconds, which are never negative.
    adjust(libc::ADJ_SETOFFSET | libc::ADJ_NANO, |timex| {
        timex.time.tv_sec = i64::try_from(seconds).map_err(io::Error::other)?;
        timex.time.tv_usec = i64::try_from(rest).map_err(io::Error::other)?;
        Ok(())
    })
}

/// Lets the clock run faster or slower, by 0.5 ms per second, until it has changed by so many
/// nanoseconds; what an earlier call left to be done is forgotten.
///
/// # Errors
/// Without `CAP_SYS_TIME`.
pub fn slew(nanoseconds: i128) -> io::Result<()> {
    adjust(libc::ADJ_OFFSET_SINGLESHOT, |timex| {
        timex.offset = i64::try_from(nanoseconds / 1000).map_err(io::Error::other)?;
        Ok(())
    })
}

/// Says that the clock is right to within `error` nanoseconds and off by `estimate`. The kernel lets
/// the error grow by 0.5 ms per second, and by itself says the opposite when it has come to 16 s
/// (`second_overflow` of kernel/time/ntp.c).
///
/// # Errors
/// Without `CAP_SYS_TIME`.
pub fn synchronised(error: i128, estimate: i128) -> io::Result<()> {
    adjust(libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR, |timex| {
        // No `STA_UNSYNC`.
        timex.status = 0;
        let microseconds = |time: i128| i64::try_from(time / 1000).map_err(io::Error::other);
        (timex.maxerror, timex.esterror) = (microseconds(error)?, microseconds(estimate)?);
        Ok(())
    })
}

/// Says that nobody knows how good the clock is.
///
/// # Errors
/// Without `CAP_SYS_TIME`.
pub fn unsynchronised() -> io::Result<()> {
    adjust(libc::ADJ_STATUS, |timex| {
        timex.status = libc::STA_UNSYNC;
        Ok(())
    })
}

/// Whether the kernel takes its clock for good.
pub fn is_synchronised() -> bool {
    let mut status = libc::STA_UNSYNC;
    let asked = call(0, |_| Ok(()), |timex| status = timex.status);
    asked.is_ok() && status & libc::STA_UNSYNC == 0
}

fn adjust(modes: u32, fill: impl FnOnce(&mut libc::timex) -> io::Result<()>) -> io::Result<()> {
    call(modes, fill, |_| {})
}

fn call(
    modes: u32,
    fill: impl FnOnce(&mut libc::timex) -> io::Result<()>,
    read: impl FnOnce(&libc::timex),
) -> io::Result<()> {
    // SAFETY: needed because the structure has private padding and no constructor. Sound because
    // it is plain numbers, for which zero is a value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    timex.modes = modes;
    fill(&mut timex)?;
    // SAFETY: needed because neither std nor rustix has this call. Sound because the pointer is
    // to a whole `timex` of ours, which the kernel reads and fills within the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state == -1 {
        return Err(io::Error::last_os_error());
    }
    read(&timex);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_no_clock_can_show_is_refused() {
        assert!(step(i128::MAX).is_err());
        assert!(slew(i128::MAX).is_err());
        assert!(synchronised(i128::MAX, 0).is_err());
    }
}
