//! Which versions of kubelet an API server takes
//! (<https://kubernetes.io/releases/version-skew-policy/#kubelet>).

/// So many minor versions a kubelet may be older than its API server.
const OLDEST: u32 = 3;

/// The minor version of Kubernetes 1: 36 of `v1.36.3` and of `v1.36.3-gke.100`.
pub fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix('v').unwrap_or(version).strip_prefix("1.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// What stands against a kubelet of this version beside an API server of that version.
pub fn objection(kubelet: &str, server: &str) -> Option<String> {
    let (Some(ours), Some(theirs)) = (minor(kubelet), minor(server)) else {
        return Some(format!("kubelet {kubelet} and the API server {server} cannot be compared"));
    };
    if ours > theirs {
        return Some(format!("its kubelet is {kubelet}, newer than the API server {server}"));
    }
    (theirs - ours > OLDEST).then(|| {
        format!("its kubelet is {kubelet}, more than {OLDEST} minor versions older than the API server {server}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_is_never_newer_and_at_most_three_versions_older() {
        for (kubelet, server, fits) in [
            ("v1.36.3", "v1.36.1", true),
            ("v1.36.0", "v1.37.0", true),
            ("v1.34.9", "v1.37.0-rc.1", true),
            ("v1.33.9", "v1.37.0", false),
            ("v1.37.0", "v1.36.9", false),
            ("1.36.3", "v1.36.3-gke.100", true),
            ("v2.0.0", "v1.36.3", false),
            ("", "v1.36.3", false),
        ] {
            assert_eq!(objection(kubelet, server).is_none(), fits, "{kubelet} {server}");
        }
    }
}
