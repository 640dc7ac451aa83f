//! What the daemons' own words mean: lines of kubelet and containerd become causes, in words that
//! say what to do; so do those of our own `devices` about STATE, as they are. Pure: lines and times in, causes out.
//!
//! A cause is told once when it begins, is on the screen while it lasts, and is taken back when it
//! is over. A daemon says over and over what does not work, and seldom that it works again; so a
//! cause is over when nothing speaks of it for longer than the daemon's pauses are, or when the
//! daemon says something that it could not say otherwise: kubelet has registered the node; it was
//! refused for its token, so the API server's certificate is good; the pod runs that waited for an
//! image. What every node goes through for a moment, such as waiting for its certificate, is told
//! only if it lasts.
//!
//! The formats are those of kubelet 1.36 and containerd 2.4: klog's contextual lines, in which an
//! error is quoted, and Go's own error texts. A line that is not known means nothing.

use std::time::Duration;

use formats::system::STATE_IS_DAMAGED;

/// Causes at a time; one more takes the place of the one that was spoken of least recently.
const MOST: usize = 12;
/// kubelet asks the API server again after at most 30 s, is restarted after at most 30 s, and then
/// needs some time to come so far again.
const API_SILENCE: Duration = Duration::from_secs(90);
/// kubelet looks at its pods and the runtime every few seconds; a pod that cannot start is tried
/// again after some ten.
const POD_SILENCE: Duration = Duration::from_secs(60);
/// A disk that is full hits whoever writes.
const DISK_SILENCE: Duration = Duration::from_secs(120);
/// A certificate request is approved within a moment, if the cluster approves by itself.
const APPROVAL: Duration = Duration::from_secs(15);
/// Characters of a pod's namespace and name.
const POD: usize = 320;
/// Characters of a reason in somebody else's words.
const REASON: usize = 120;
/// The network of pods comes and goes while a cluster's plugin is installed.
const NETWORK_PLUGIN: Duration = Duration::from_secs(10);

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Authority,
    Names,
    Clock,
    Token,
    Rights,
    Denied,
    Unapproved,
    Credentials,
    Registration,
    Kubelet,
    PodNetwork,
    Sandbox,
    Manifest,
    Disk,
    Eviction,
    Image,
    State,
}

impl Kind {
    fn silence(self) -> Duration {
        match self {
            Self::Authority | Self::Names | Self::Clock => API_SILENCE,
            Self::Token | Self::Rights | Self::Denied => API_SILENCE,
            Self::Unapproved | Self::Credentials | Self::Registration => API_SILENCE,
            Self::Kubelet => API_SILENCE,
            Self::PodNetwork | Self::Sandbox | Self::Manifest | Self::Image => POD_SILENCE,
            Self::Disk | Self::Eviction => DISK_SILENCE,
            Self::State => Duration::MAX,
        }
    }

    /// Whether it keeps a node from being registered.
    fn of_the_server(self) -> bool {
        self.stage().is_some()
    }

    /// How far a node came that meets it: the API server's certificate, the token, its own.
    fn stage(self) -> Option<u8> {
        match self {
            Self::Authority | Self::Names | Self::Clock => Some(1),
            Self::Token | Self::Rights | Self::Denied => Some(2),
            Self::Unapproved | Self::Credentials | Self::Registration => Some(3),
            _ => None,
        }
    }

    /// How long it lasts before it is told.
    fn patience(self) -> Duration {
        match self {
            Self::Unapproved | Self::Credentials => APPROVAL,
            Self::Sandbox => NETWORK_PLUGIN,
            _ => Duration::ZERO,
        }
    }

    /// Whether a line about `seen` shows that it is so no longer.
    fn is_disproved_by(self, seen: Self) -> bool {
        match (self.stage(), seen.stage()) {
            (Some(1), Some(stage)) => stage > 1,
            (Some(2), Some(2)) => self != seen,
            // It is the token that it has no certificate for.
            (Some(3), Some(stage)) => stage == 2,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    kind: Kind,
    /// Which image or resource; empty for the others.
    subject: String,
    text: String,
    /// Which pod waits for it, `NAMESPACE/NAME`.
    pod: Option<String>,
    first: Duration,
    last: Duration,
    told: bool,
}

impl Cause {
    /// When it is over if nobody speaks of it. While kubelet does not work, its silence says
    /// nothing.
    fn over_at(&self, kubelet: Kubelet) -> Option<Duration> {
        match kubelet {
            // Nothing but a start of the machine ends it.
            _ if self.kind == Kind::State => None,
            _ if !self.kind.of_the_server() => Some(self.last + self.kind.silence()),
            Kubelet::WorksSince(since) => Some(self.last.max(since) + self.kind.silence()),
            Kubelet::Down => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kubelet {
    Down,
    WorksSince(Duration),
}

/// What a line changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To be told: what begins, and what is over.
    pub told: Vec<String>,
    /// It looks as if the API server could not be reached.
    pub suspects_server: bool,
}

/// The causes there are now.
#[derive(Debug)]
pub struct Diagnosis {
    causes: Vec<Cause>,
    kubelet: Kubelet,
}

impl Default for Diagnosis {
    fn default() -> Self {
        Self { causes: Vec::new(), kubelet: Kubelet::WorksSince(Duration::ZERO) }
    }
}

impl Diagnosis {
    /// Whether the lines of the unit of this name are understood.
    pub fn follows(unit: &str) -> bool {
        ["kubelet", "containerd", "devices"].contains(&unit)
    }

    /// Takes in a line of a unit that is followed.
    pub fn line(&mut self, now: Duration, line: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let registered = ["\"Successfully registered node\"", "\"Node was previously registered\""];
        if registered.iter().any(|words| line.contains(words)) {
            self.end(|cause| cause.kind.of_the_server(), &mut outcome.told);
            return outcome;
        }
        if line.contains("\"Observed pod startup duration\"") {
            let pod = pod(line);
            self.end(|cause| pod.is_some() && cause.pod == pod, &mut outcome.told);
            return outcome;
        }
        let Some(cause) = classify(line, now) else {
            outcome.suspects_server = suspects_server(line);
            return outcome;
        };
        self.end(|known| known.kind.is_disproved_by(cause.kind), &mut outcome.told);
        // Whose token is refused has no certificate either.
        if cause.kind.stage() == Some(3) && self.causes.iter().any(|c| c.kind.stage() == Some(2)) {
            return outcome;
        }
        let same = |known: &&mut Cause| known.kind == cause.kind && known.subject == cause.subject;
        if let Some(known) = self.causes.iter_mut().find(same) {
            // It stays as it was told first: times and ports in it change with each line.
            known.last = now;
            known.pod = cause.pod.or_else(|| known.pod.take());
            if !known.told && now >= known.first + known.kind.patience() {
                known.told = true;
                outcome.told.push(known.text.clone());
            }
            return outcome;
        }
        if self.causes.len() == MOST
            && let Some(at) = (0..MOST)
                .filter(|at| self.causes.get(*at).is_some_and(|cause| cause.kind != Kind::State))
                .min_by_key(|at| self.causes.get(*at).map(|cause| cause.last))
        {
            self.causes.remove(at);
        }
        if cause.told {
            outcome.told.push(cause.text.clone());
        }
        self.causes.push(cause);
        outcome
    }

    /// kubelet works from now on, or does not.
    pub fn kubelet(&mut self, now: Duration, works: bool) {
        self.kubelet = if works { Kubelet::WorksSince(now) } else { Kubelet::Down };
    }

    /// Takes back what nobody speaks of any more.
    pub fn tick(&mut self, now: Duration) -> Vec<String> {
        let mut told = Vec::new();
        let kubelet = self.kubelet;
        self.end(|cause| cause.over_at(kubelet).is_some_and(|over| now >= over), &mut told);
        told
    }

    /// When [`Diagnosis::tick`] should be called.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.causes.iter().filter_map(|cause| cause.over_at(self.kubelet)).min()
    }

    /// What keeps the node from working now, a line each.
    pub fn causes(&self) -> impl Iterator<Item = &str> {
        self.causes.iter().filter(|cause| cause.told).map(|cause| cause.text.as_str())
    }

    fn end(&mut self, is_over: impl Fn(&Cause) -> bool, told: &mut Vec<String>) {
        let over = self.causes.iter().filter(|cause| cause.told && is_over(cause));
        told.extend(over.map(|cause| format!("no longer: {}", cause.text)));
        self.causes.retain(|cause| !is_over(cause));
    }
}

/// The cause that a line tells of, if any. The order matters: a pull that fails for a certificate
/// is about the registry, not about the API server.
fn classify(line: &str, now: Duration) -> Option<Cause> {
    let cause = |kind: Kind, subject: &str, text: String| {
        let (subject, told) = (subject.to_owned(), kind.patience().is_zero());
        let of_pod = matches!(kind, Kind::Image | Kind::Sandbox);
        let pod = of_pod.then(|| pod(line)).flatten();
        Some(Cause { kind, subject, text, pod, first: now, last: now, told })
    };
    if let Some(text) = line.strip_prefix(STATE_IS_DAMAGED) {
        return cause(Kind::State, "", text.to_owned());
    }
    if line.contains("no space left on device") {
        return cause(Kind::Disk, "", "the disk is full (STATE, mounted at /var)".to_owned());
    }
    if let Some((image, reason)) = failed_pull(line) {
        let text = format!("the image {image} cannot be pulled: {reason}");
        return cause(Kind::Image, &image, text);
    }
    if line.contains("\"Container runtime network not ready\"") {
        let text = if line.contains("cni plugin not initialized") {
            "there is no pod network: neither the cluster nor `[cni]` of the node config has put \
             a configuration into /etc/cni/net.d"
                .to_owned()
        } else {
            format!("the pod network is not ready: {}", shortened(after(line, "message:")?))
        };
        return cause(Kind::PodNetwork, "", text);
    }
    if line.contains("\"Eviction manager: attempting to reclaim\"") {
        let resource = word(after(line, "resourceName=")?);
        let text = format!("kubelet evicts pods, for the node is short of {resource}");
        return cause(Kind::Eviction, resource, text);
    }
    if let Some(error) = after(line, "x509: ") {
        // A container's probe by https is its own affair.
        if line.contains("Probe failed") || line.contains("probe=") {
            return None;
        }
        if error.starts_with("certificate signed by unknown authority") {
            let text = "the API server's certificate is not signed by the authority in `ca` of \
                        the node config";
            return cause(Kind::Authority, "", text.to_owned());
        }
        if let Some(detail) = after(error, "not yet valid: ") {
            let text = format!(
                "a certificate is not valid at the time that this node's clock shows: {}",
                shortened(detail)
            );
            return cause(Kind::Clock, "", text);
        }
        if error.starts_with("certificate is valid for ")
            || error.starts_with("cannot validate certificate for ")
        {
            let text = format!("the API server's certificate is for others: {}", shortened(error));
            return cause(Kind::Names, "", text);
        }
        return None;
    }
    if let Some((kind, text)) = credentials(line) {
        return cause(kind, "", text.to_owned());
    }
    // Go's runtime, in the name of no logger; the trace behind it says nothing to people. kubelet
    // ends so at a feature gate that it does not know.
    if let Some(reason) = line.strip_prefix("panic: ") {
        return cause(Kind::Kubelet, "panic", format!("kubelet or containerd panicked: {reason}"));
    }
    // Whose server is not reached has no other cause than that.
    let quoted = QUOTED.iter().find(|(words, ..)| line.contains(words) && !suspects_server(line));
    let &(_, kind, subject, text) = quoted?;
    let subject = field(line, subject).unwrap_or_default();
    let name = subject.rsplit('/').next().filter(|_| kind == Kind::Manifest).unwrap_or(&subject);
    let reason = field(line, " err=").unwrap_or_else(|| "the log of kubelet says why".to_owned());
    cause(kind, &subject, format!("{} {reason}", text.replace('#', name)))
}

/// What kubelet ends or does without, whose reason is told in its own words, all of them: what a
/// line has, what that is, the field that says of which, the text.
const QUOTED: [(&str, Kind, &str, &str); 7] = [
    (
        "\"Unable to register node with API server",
        Kind::Registration,
        "",
        "the API server does not register this node:",
    ),
    ("\"command failed\"", Kind::Kubelet, "", "kubelet does not start:"),
    ("\"Failed to start ContainerManager\"", Kind::Kubelet, "", "kubelet does not start:"),
    ("\"Failed to start cAdvisor\"", Kind::Kubelet, "", "kubelet does not start:"),
    ("\"Failed to initialize internal modules\"", Kind::Kubelet, "", "kubelet does not start:"),
    ("\"Failed to create sandbox for pod\"", Kind::Sandbox, " pod=", "the pod # gets no sandbox:"),
    (
        "\"Could not process manifest file\"",
        Kind::Manifest,
        " path=",
        "the static pod # is ignored:",
    ),
];

/// The value of a field, out of its quotes (Go's `strconv.Quote`).
fn field(line: &str, name: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = after(line, name)?.strip_prefix('"')?.chars();
    while let Some(c) = chars.next().filter(|c| *c != '"') {
        text.push(match c {
            '\\' => chars.next().map(|c| if c == 'n' || c == 't' { ' ' } else { c })?,
            c => c,
        });
    }
    Some(text)
}

/// What the API server holds of the node, once they speak with each other.
fn credentials(line: &str) -> Option<(Kind, &'static str)> {
    let says = |words: &str| line.contains(words);
    // What pods ask for is their affair, and so is the certificate that kubelet serves with.
    if says(" pod=\"") || says("kubernetes.io/kubelet-serving") {
        return None;
    }
    let refused = says("Unauthorized") || says("has asked for the client to provide credentials");
    if refused && says("certificate signing request") {
        let text = "the API server refuses the bootstrap token (`token` of the node config): it \
                    is unknown there or has expired";
        return Some((Kind::Token, text));
    }
    if says("system:bootstrap:") && says("is forbidden") {
        let text = "the bootstrap token (`token` of the node config) may not ask for a \
                    certificate: its group lacks system:node-bootstrapper";
        return Some((Kind::Rights, text));
    }
    if says("certificate signing request is denied") {
        return Some((
            Kind::Denied,
            "the cluster has denied this node's request for a certificate",
        ));
    }
    // Without a certificate it asks as nobody.
    if says("\"Certificate request was not signed\"") || says("system:anonymous") {
        let text = "this node's request for a certificate is not approved yet: `kubectl get csr` \
                    shows it";
        return Some((Kind::Unapproved, text));
    }
    let text = "the API server accepts no certificate of this node: not approved yet, or of \
                another cluster";
    refused.then_some((Kind::Credentials, text))
}

/// Whether it is a request of kubelet's to its API server that found nobody.
fn suspects_server(line: &str) -> bool {
    let network = [
        "connection refused",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
        "no such host",
        "connection reset by peer",
        "client connection lost",
        "TLS handshake timeout",
        ": EOF",
        "server misbehaving",
        "context deadline exceeded",
        "Client.Timeout exceeded",
    ];
    line.contains("https://")
        && !line.contains("robe failed")
        && network.iter().any(|words| line.contains(words))
}

/// Which image could not be pulled and why.
fn failed_pull(line: &str) -> Option<(String, String)> {
    if !line.contains("err") {
        return None;
    }
    // Of a container, of a pod that waits for the next try, of a sandbox.
    let service = line.contains("\"PullImage from image service failed\"");
    let named = after(line, " image=").filter(|_| service);
    let image = named
        .or_else(|| after(line, "ulling image "))
        .or_else(|| after(line, "failed to pull image "))?;
    let image = word(image);
    if image.is_empty() {
        return None;
    }
    let known = [
        ("no such host", "the name of its registry has no address"),
        ("server misbehaving", "no name server knows its registry"),
        ("connection refused", "its registry refuses connections"),
        ("no route to host", "there is no way to its registry"),
        ("network is unreachable", "there is no way to its registry"),
        ("signed by unknown authority", "the certificate of its registry is not trusted"),
        ("not yet valid", "a certificate of its registry is not valid at the node's time"),
        ("gave HTTP response to HTTPS", "its registry speaks http, not https"),
        ("failed to authorize", "its registry wants credentials"),
        ("authorization failed", "its registry wants credentials"),
        ("401 Unauthorized", "its registry wants credentials"),
        ("403 Forbidden", "its registry forbids it"),
        ("429 Too Many Requests", "its registry allows no more requests for now"),
        (": not found", "its registry has no such image"),
        ("i/o timeout", "its registry does not answer"),
        ("deadline exceeded", "its registry does not answer"),
    ];
    let reason = silent_name_server(line).or_else(|| {
        let known = known.iter().find(|(words, _)| line.contains(words));
        known.map(|(_, reason)| (*reason).to_owned())
    });
    Some((image.to_owned(), reason.unwrap_or_else(|| "the log of kubelet says why".to_owned())))
}

/// Of Go's `lookup HOST on 192.0.2.53:53: ...: i/o timeout`.
fn silent_name_server(line: &str) -> Option<String> {
    let (_, server) = after(line, "lookup ")?.split_once(" on ")?;
    let address = server.split(": ").next()?;
    let address = shortened(address.strip_suffix(":53").unwrap_or(address));
    let silent = server.contains("i/o timeout") || server.contains("connection refused");
    silent.then(|| format!("the name server {address} does not answer"))
}

/// The pod that a line is about.
fn pod(line: &str) -> Option<String> {
    let (_, rest) = line.rsplit_once(" pod=\"")?;
    let pod = rest.split('"').next().filter(|pod| !pod.is_empty());
    pod.map(|pod| pod.chars().take(POD).collect())
}

fn after<'a>(line: &'a str, words: &str) -> Option<&'a str> {
    line.split_once(words).map(|(_, rest)| rest)
}

/// The first word, out of its quotes: an image's name, a resource.
fn word(text: &str) -> &str {
    let text = text.trim_start_matches(['\\', '"']);
    let part = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
    &text[..text.find(|c| !part(c)).unwrap_or(text.len())]
}

/// The rest of an error, to where it is quoted in another, and not too much of it.
fn shortened(text: &str) -> String {
    let end = text.find(['"', '\\']).unwrap_or(text.len());
    text[..end].trim().chars().take(REASON).collect()
}

#[cfg(test)]
mod tests;
