//! What outlives this process: PID 1 keeps it, as lines of text, and gives it to the next run.

use crate::network::time::keeper::Known;

/// The lines of [`super::Connectivity::keep`], read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept<'a> {
    /// What the node is called, if it is known by that.
    pub hostname: Option<String>,
    /// What is known of the clock.
    pub clock: Known,
    /// For [`crate::net::start`].
    pub network: &'a [String],
}

impl<'a> Kept<'a> {
    /// Of what PID 1 gives; the first run is given nothing.
    pub fn of(lines: &'a [String]) -> Self {
        let (name, rest) = lines.split_first().map_or(("", lines), |(name, rest)| (name, rest));
        let (clock, network) = rest.split_first().map_or(("", rest), |(clock, rest)| (clock, rest));
        let hostname = Some(name.to_owned()).filter(|name| !name.is_empty());
        Self { hostname, clock: Known::from_line(clock), network }
    }
}

/// The lines.
pub(super) fn lines(hostname: &str, clock: Known, network: Vec<String>) -> Vec<String> {
    [hostname.to_owned(), clock.to_line()].into_iter().chain(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_the_first_run_knows_nothing() {
        let clock = Known { set: true, agreed: true, heard: None };
        let network = ["2 names fe80::1 -".to_owned()];
        let kept = lines("worker", clock, network.to_vec());
        let hostname = Some("worker".to_owned());
        assert_eq!(Kept::of(&kept), Kept { hostname, clock, network: &network });
        assert_eq!(Kept::of(&lines("", Known::default(), Vec::new())), Kept::default());
        assert_eq!(Kept::of(&[]), Kept::default());
    }
}
