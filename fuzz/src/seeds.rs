//! Proper inputs, made in code: what a fuzzer would take long to find.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use formats::crc32::crc32;
use formats::node_config::EXAMPLE;
use formats::uki::{Section, add_sections};

mod contents;
mod disks;
mod network;
mod ostree;
mod releases;
#[path = "../../builder/src/source/deb/testing.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "the tests of signatures need more of it")]
mod signers;
mod slots;
mod transport;
mod trial;
mod tuf;

pub(crate) use contents::*;
pub(crate) use disks::*;
pub(crate) use network::*;
pub(crate) use ostree::ostree;
pub(crate) use releases::*;
use signers::Signer;
pub(crate) use slots::*;
pub(crate) use transport::*;
pub(crate) use trial::{node_object, trial, updater};
pub(crate) use tuf::*;

/// When release files are judged.
pub(crate) const NOW: u64 = signers::NOW;

/// The size of the disks of the target `gpt`.
pub(crate) const SECTORS: u64 = 1 << 20;

/// A release file without indexes.
pub(crate) const RELEASE: &str = "Origin: Debian\nSuite: stable\nCodename: trixie\n\
    Date: Sat, 15 Nov 2025 09:21:42 UTC\nArchitectures: all amd64\nComponents: main\n\
    Acquire-By-Hash: yes\nSHA256:\n \
    0000000000000000000000000000000000000000000000000000000000000000 1 main/binary-amd64/Packages\n";

const RECORD: &str = "Package: runc\nSource: runc (1.1)\nVersion: 1.1-1+b2\nArchitecture: amd64\n\
    Pre-Depends: libc6 (>= 2.34)\nDepends: libseccomp2 (>= 2.5.0) | x, b:any\n\
    Provides: y (= 1)\nDescription: a\n b\n .\n c\nFilename: pool/main/r/runc_1.1-1_amd64.deb\n\
    Size: 10\nSHA256: 0000000000000000000000000000000000000000000000000000000000000000\n\n";

const RECIPE: &str = "schema = 1\nname = \"least\"\narch = \"amd64\"\n[os]\nid = \"os\"\nname = \"OS\"\nversion = \"1\"\n\
    [kernel]\npackage = \"linux\"\ncommand-line = [\"a\"]\nmodules = [\"overlay\"]\n[debian]\n\
    suites = [\"trixie\"]\ncomponents = [\"main\"]\nkeys = []\npackages = [\"runc\"]\n\
    drop = [\"/usr/share/**\"]\n[url.tool]\nunpack = { \"b\" = \"/usr/bin/b\" }\nurl = \"https://m.example/t.tar.gz\"\nsha256 = \
    \"0000000000000000000000000000000000000000000000000000000000000000\"\n\
    [tree]\ndirectories = [\"/dev\"]\n[tree.symlinks]\n\"/bin\" = \"usr/bin\"\n[disk]\n\
    root = \"8 MiB\"\n[profile.debug.kernel]\ncommand-line = { add = [\"b\"], remove = [] }\n";

const LOCK: &str = "# Made by `orlop lock`; do not edit.\nschema = 1\ninputs = [\n    \"kernel linux\",\n]\n\
    \n[[suite]]\nname = \"trixie\"\ndate = \"Sat, 15 Nov 2025 09:21:42 UTC\"\nsigned-by = \"41\"\n\
    release = \"0000000000000000000000000000000000000000000000000000000000000000\"\n\
    \n[[package]]\nname = \"a\"\nversion = \"1\"\narchitecture = \"all\"\nsource = \"a\"\n\
    suite = \"trixie\"\npath = \"p\"\nsize = 1\nrole = \"root\"\nrequired-by = [\"recipe\"]\n\
    sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n\
    \n[[url]]\ncomponent = \"t\"\nurl = \"https://m.example/t\"\nsize = 2\n\
    sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n";

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory can be written")
}

fn padded(mut bytes: Vec<u8>, multiple: usize) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(multiple), 0);
    bytes
}

/// One member of a tar archive, as ustar.
fn member(name: &str, kind: u8, target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(157, target);
    put(257, "ustar\u{0}00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    padded([header, content.to_vec()].concat(), 512)
}

fn archive_of(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn files() -> Vec<u8> {
    archive_of(&[
        member("./", b'5', "", b""),
        member("./usr/", b'5', "", b""),
        member("./usr/x", b'0', "", b"content"),
        member("./usr/y", b'2', "x", b""),
        member("./usr/z", b'1', "./usr/x", b""),
    ])
}

/// A record of pax, whose length counts itself.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (rest.len() + 1..).find(|length| length.to_string().len() + rest.len() == *length);
    format!("{}{rest}", length.unwrap_or_default())
}

pub(crate) fn tar() -> Vec<Vec<u8>> {
    let long = record("path", "a/very long name of it") + &record("mtime", "1.5");
    let sparse = record("GNU.sparse.major", "1")
        + &record("GNU.sparse.minor", "0")
        + &record("GNU.sparse.name", "sparse")
        + &record("GNU.sparse.realsize", "10000");
    // One piece of 7 bytes at 0, and nothing up to the end.
    let map = padded(b"2\n0\n7\n10000\n0\n".to_vec(), 512);
    let map = [&map[..], b"content"].concat();
    vec![
        files(),
        archive_of(&[
            member("pax", b'x', "", long.as_bytes()),
            member("short", b'0', "", b"content"),
        ]),
        archive_of(&[member("pax", b'x', "", sparse.as_bytes()), member("short", b'0', "", &map)]),
        archive_of(&[
            member("././@LongLink", b'L', "", &[&[b'n'; 200][..], &[0]].concat()),
            member("n", b'0', "", b"c"),
        ]),
    ]
}

/// One stored file.
fn zip() -> Vec<u8> {
    let (name, content) = (b"dir/file", b"content");
    let fields = |before: &[u8]| {
        let sum = crc32(content).to_le_bytes();
        let size = [7, 0, 0, 0];
        [before, &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0], &sum, &size, &size, &[8, 0, 0, 0]].concat()
    };
    let local = [&fields(b"PK\x03\x04")[..], name, content].concat();
    let rest = [&[0; 8][..], &[0, 0, 0xa4, 0x81], &[0; 4]].concat();
    let mut central = fields(b"PK\x01\x02\x14\x03");
    // Length of a comment, disk, attributes, offset.
    central.extend([0, 0]);
    central.extend(&rest[2..]);
    central.truncate(46);
    central.extend(name);
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length(&central)[..], &length(&local), &[0, 0]];
    [local.clone(), central.clone(), end.concat()].concat()
}

pub(crate) fn archive() -> Vec<Vec<u8>> {
    let tars = tar();
    let packed: Vec<_> = tars.iter().map(|tar| gzip(tar)).collect();
    [tars, packed, vec![zip()]].concat()
}

pub(crate) fn deb() -> Vec<Vec<u8>> {
    let control = archive_of(&[member("./control", b'0', "", RECORD.trim_end().as_bytes())]);
    let ar = |parts: &[(&str, &[u8])]| {
        let mut bytes = b"!<arch>\n".to_vec();
        for (name, content) in parts {
            let header = format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                100_644,
                content.len()
            );
            bytes.extend(header.as_bytes());
            bytes.extend(padded(content.to_vec(), 2));
        }
        bytes
    };
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let (control_gz, data_gz) = (gzip(&control), gzip(&files()));
    vec![
        ar(&[version, ("control.tar.gz", &control_gz), ("data.tar.gz", &data_gz)]),
        ar(&[version, ("control.tar", &control), ("data.tar", &files())]),
    ]
}

pub(crate) fn deb_text() -> Vec<Vec<u8>> {
    let header = format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "data.tar", 0, 0, 0, 644, 10);
    texts(&[
        RECORD,
        RELEASE,
        "1:2.41-12+deb13u4~rc1",
        "libc6 (>= 2.34), a | b (<< 1:0), c:any [amd64] <!nocheck>",
        "Sat, 15 Nov 2025 09:21:42 UTC",
        "20251115T092142Z",
        "runc=1.1-1",
        "runc/trixie-backports",
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
         Files: *\nLicense: GPL-2+ with Libtool exception or odd, and ISC\n\n",
        &header,
    ])
}

/// The fingerprint and the keyring of whoever signs.
pub(crate) fn keyring() -> (String, Vec<u8>) {
    let signer = Signer::new(1);
    (signer.fingerprint(), signer.keyring())
}

pub(crate) fn in_release() -> Vec<Vec<u8>> {
    let signed = Signer::new(1).sign(RELEASE).into_bytes();
    let other = Signer::new(2).with_subkey(3).sign(RELEASE).into_bytes();
    let armored = Signer::new(1).armored_keyring().into_bytes();
    vec![signed, other, keyring().1, armored]
}

pub(crate) fn packages() -> Vec<Vec<u8>> {
    let text = RECORD.repeat(3).into_bytes();
    vec![gzip(&text), text]
}

pub(crate) fn address() -> Vec<Vec<u8>> {
    texts(&[
        "https://user:pass@mirror.example:8443/debian?a=b#c\n../x?y",
        "http://[fec0::1]:80/debian/\n//other.example/x",
        "file:///srv/mirror",
    ])
}

pub(crate) fn apt_sources() -> Vec<Vec<u8>> {
    texts(&[
        "deb [arch=amd64 signed-by=/k.gpg] http://deb.mirror.example/debian trixie main\n# x\n",
        "Types: deb\nURIs: http://deb.mirror.example/debian\nSuites: trixie trixie-updates\n\
         Components: main\nEnabled: yes\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n\n",
    ])
}

pub(crate) fn cargo() -> Vec<Vec<u8>> {
    texts(&[
        "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
         members = [\"b/*\"]\nexclude = [\"c\"]\n[dependencies]\nd = { version = \"1\", path = \"d\" }\n\
         [profile.node]\ninherits = \"release\"\nopt-level = \"z\"\n",
        "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\ndependencies = [\n \"d\",\n]\n\n\
         [[package]]\nname = \"d\"\nversion = \"1.0.0\"\n\
         source = \"registry+https://index.example/\"\nchecksum = \"00\"\n",
        "[source.x]\nreplace-with = \"y\"\n[source.y]\ndirectory = \"vendor\"\n\
         [registries.r]\nindex = \"https://r.example/\"\n[build]\nrustflags = [\"-x\"]\n",
    ])
}

pub(crate) fn command_line() -> Vec<Vec<u8>> {
    let hash = "0".repeat(64);
    let line = format!(
        "orlop.root=PARTUUID=00000000-0000-0000-0000-000000000000 roothash={hash} \
        orlop.slot=a console=ttyS0 orlop.roothash={hash} \"quoted x\""
    );
    let uuid = "00000000-0000-0000-0000-00000000000";
    let slots = format!("orlop.root=partuuid:{uuid}1,{uuid}2 orlop.roothash={hash} gpt ro");
    texts(&[&line, &slots])
}

/// This program, as far as headers go, and a module of two sections.
pub(crate) fn elf() -> Vec<Vec<u8>> {
    let info = b"license=GPL\0alias=pci:v*\0depends=a,b\0softdep=pre: c post: d\0";
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut file = vec![0; 64];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0");
    file[20] = 1;
    let (info_at, names_at) = (64, 64 + info.len());
    let table = (names_at + names.len()).next_multiple_of(8);
    file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    file[52..64].copy_from_slice(&[64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    file.extend(info);
    file.extend(names);
    file.resize(table + 64, 0);
    for (name, kind, at, length) in
        [(1_u32, 1_u32, info_at, info.len()), (10, 3, names_at, names.len())]
    {
        let mut section = vec![0; 64];
        section[..4].copy_from_slice(&name.to_le_bytes());
        section[4..8].copy_from_slice(&kind.to_le_bytes());
        section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        section[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        file.extend(section);
    }
    vec![file.clone(), gzip(&file), info.to_vec()]
}

pub(crate) fn leftovers() -> Vec<Vec<u8>> {
    let block = |label: &str, content: &str| {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    };
    // A sequence whose text is a node's name: what is looked for in a certificate.
    let certificate = block("CERTIFICATE", "MBMMEXN5c3RlbTpub2RlOmFscGhh");
    let pair = certificate + &block("EC PRIVATE KEY", "MAA=");
    let mut page = vec![0; 16];
    page.extend(0x2_ed0c_daed_u64.to_le_bytes());
    page.resize(80, 0);
    let device = b"id=virtio-config path=pci-0000:00:05.0 partition=1".to_vec();
    vec![pair.into_bytes(), page, device]
}

pub(crate) fn lock() -> Vec<Vec<u8>> {
    texts(&[LOCK])
}

pub(crate) fn logins() -> Vec<Vec<u8>> {
    texts(&[
        "https://mirror.example/debian\nmachine mirror.example login me password \"a b\\\"\" # x\n",
        "http://m.example:81/x\nmacdef init\ncd /\n\nmachine http://m.example:81/x\nlogin a\n\
         password b\ndefault login c password d\n",
    ])
}

pub(crate) fn go_mod() -> Vec<Vec<u8>> {
    texts(&["module m.example/m // x\n\ngo 1.26.1\ntoolchain go1.26.2\n\nrequire (\n\
        \tk8s.io/kubernetes v1.36.0\n\t\"a.example/b\" v0.0.0-20251115092142-abcdefabcdef // indirect\n)\n\
        replace a.example/b => c.example/b v1.0.0\nexclude c.example/c v1.0.0\nretract [v1.0.0, v1.1.0]\ntool x\n"])
}

pub(crate) fn manifest() -> Vec<Vec<u8>> {
    let sha256 = "0".repeat(64);
    texts(&[&format!(
        "d 0755 0 0 /\nl 0777 0 0 /bin usr/bin\nd 0755 0 0 /etc\n\
         f 0644 0 0 /etc/a\\u{{20}}b {sha256} 3 user.x=00ff\n"
    )])
}

pub(crate) fn mark() -> Vec<Vec<u8>> {
    texts(&["{\"mark\":\"cri-answers\",\"ns\":3190000000}"])
}

pub(crate) fn node_config() -> Vec<Vec<u8>> {
    texts(&[
        EXAMPLE,
        "schema = 1\nhostname = \"a\"\n[kubernetes]\nserver = \"https://10.0.2.2:6443\"\n\
         token = \"abcdef.0123456789abcdef\"\nlabels = { \"a.example/b\" = \"c\" }\n\
         ca = \"\"\"\n-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n\"\"\"\n",
    ])
}

pub(crate) fn recipe() -> Vec<Vec<u8>> {
    texts(&[RECIPE])
}

/// A manifest, names, challenges, a refusal, a token, logins.
pub(crate) fn registry() -> Vec<Vec<u8>> {
    let digest = format!("sha256:{}", "ab".repeat(32));
    texts(&[
        &format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
             \"artifactType\":\"a/b\",\"config\":{{\"mediaType\":\"c\",\"digest\":\"{digest}\",\
             \"size\":2}},\"layers\":[{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":9,\
             \"annotations\":{{\"org.opencontainers.image.title\":\"metadata/1.root.json\"}}}}]}}"
        ),
        &format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\
             \"size\":2,\"platform\":{{\"os\":\"linux\",\"architecture\":\"amd64\"}}}}]}}"
        ),
        &format!(
            "{{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\",\"rootfs\":\
             {{\"type\":\"layers\",\"diff_ids\":[\"{digest}\"]}}}}"
        ),
        &format!("registry.example:5000/team/node:1@{digest}"),
        "Bearer realm=\"https://a.example/t\",service=\"r\",scope=\"repository:a/b:pull,push\", Basic",
        "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"none\",\"detail\":{}}]}",
        "{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":60}",
        "{\"auths\":{\"https://r.example/v1/\":{\"auth\":\"YTpi\"},\"r.example/a\":{\"identitytoken\":\
         \"t\"}},\"credHelpers\":{\"s.example\":\"x\"},\"credsStore\":\"y\"}",
    ])
}

/// One with all that there may be.
pub(crate) fn release() -> Vec<Vec<u8>> {
    let hash = "ab".repeat(32);
    let salt = "cd".repeat(16);
    texts(&[&format!(
        "{{\"schema\":1,\"image\":\"node\",\"version\":\"1.1\",\"architecture\":\"x86_64\",\
         \"kernel\":\"6.12\",\"commit\":\"{hash}\",\"root\":{{\"hash\":\"{hash}\",\"salt\":\"{salt}\",\
         \"data-size\":8192,\"size\":12288}},\"uki\":{{\"hash\":\"{hash}\",\"salt\":\"{salt}\",\"size\":4096}},\"epoch\":2,\"min-from\":\"1.0\",\
         \"waves\":[{{\"percent\":10,\"after-hours\":0}},{{\"percent\":100,\"after-hours\":24}}],\
         \"deltas\":[{{\"from\":\"1.0\",\"hash\":\"{hash}\",\"size\":9,\
         \"uki\":{{\"hash\":\"{hash}\",\"size\":7}}}}]}}"
    )])
}

pub(crate) fn report() -> Vec<Vec<u8>> {
    texts(&[
        "{\"schema\":1,\"image\":\"a\",\"version\":\"1\",\"files\":[\"disk.raw\"],\"artifacts\":[]}",
    ])
}

pub(crate) fn script() -> Vec<Vec<u8>> {
    texts(&[
        "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n  update-alternatives --install \\\n    \
        /usr/bin/awk awk '/usr/bin/mawk' 5 --slave /usr/share/man/awk.1 awk.1 /usr/share/x\nfi\n",
    ])
}

pub(crate) fn state() -> Vec<Vec<u8>> {
    let mut block = vec![0; 1024];
    block[4..8].copy_from_slice(&[0, 64, 0, 0]);
    block[0x18] = 2;
    block[0x38..0x3a].copy_from_slice(&[0x53, 0xef]);
    vec![block]
}

pub(crate) fn system() -> Vec<Vec<u8>> {
    texts(&[
        "hostname = \"a\"\nsource = \"volume\"\nserver = \"https://a:6443\"\nproblems = [\"x\"]\n\
        [network]\ndns = [\"10.0.2.3\"]\nntp = [\"t.example\"]\n[sysctl]\n\"a.b\" = \"1\"\n",
    ])
}

pub(crate) fn uki() -> Vec<Vec<u8>> {
    let mut stub = vec![0; 0x800];
    let mut put = |at: usize, value: &[u8]| stub[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3C, &[0x40]);
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &[0xF0, 0, 0x2E, 0x02, 0x0B, 0x02]);
    for (at, value) in [
        (0x68, 0x1000_u32),
        (0x6C, 0x1000),
        (0x78, 0x1000),
        (0x7C, 0x200),
        (0x90, 0x2000),
        (0x94, 0x400),
        (0x9C, 10),
        (0xC4, 16),
        (0x150, 0x20),
        (0x154, 0x1000),
        (0x158, 0x200),
        (0x15C, 0x400),
        (0x16C, 0x6000_0020),
    ] {
        put(at, &value.to_le_bytes());
    }
    put(0x148, b".text\0\0\0");
    let sections = [
        (".osrel", &b"ID=a\nNAME=\"b\"\n"[..]),
        (".cmdline", b"orlop.slot=a"),
        (".uname", b"6.1"),
        (".linux", b"kernel"),
    ];
    let sections = sections.map(|(name, data)| Section { name, data });
    let uki = add_sections(&stub, &sections).into_iter();
    uki.chain([stub]).collect()
}

pub(crate) fn unit() -> Vec<Vec<u8>> {
    texts(&["exec = [\"/usr/bin/a\", \"-b\"]\nonly-if-exists = \"/run/x\"\nafter = [\"c\"]\n\
        ready = \"started\"\nrestart = { policy = \"always\" }\ncgroup = \"/a\"\nkill = \"cgroup\"\n\
        oom-score = -999\ndeadline = \"60s\"\nstop-timeout = \"20s\"\nmemory-max = \"1GiB\"\n\
        pids-max = 4096\nlog-limit = \"512KiB\"\n[environment]\nA = \"b\"\n"])
}

pub(crate) fn port_map() -> Vec<Vec<u8>> {
    let request = r#"{"cniVersion":"1.0.0","name":"orlop","type":"portmap","snat":true,
        "cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"}],
        "runtimeConfig":{"portMappings":[
            {"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.1"}]},
        "prevResult":{"interfaces":[{"name":"eth0","sandbox":"/run/x"}],
            "ips":[{"address":"10.88.0.5/16","interface":0}]}}"#;
    let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                  cni0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    // `struct nlmsghdr` and `struct nlmsgerr` with the message that was refused.
    let mut refused = vec![36, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255];
    refused.extend([20, 0, 0, 0, 0, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    vec![request.into(), routes.into(), refused]
}
