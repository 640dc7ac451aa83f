//! The table of all targets. A new parser is a new row here, and one in `docs/testing.md`.

use crate::{Target, seeds, targets};

macro_rules! targets {
    ($($name:literal $function:ident $reads:literal [$($parser:literal)*];)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$(Target {
            name: $name,
            reads: $reads,
            parsers: &[$($parser),*],
            run: targets::$function,
            seeds: seeds::$function,
        },)*];
    };
}

targets! {
    "address" address "addresses of servers"
        ["builder/src/credentials/address.rs"];
    "apt-sources" apt_sources "apt's sources, in both forms"
        ["builder/src/source/deb/mirror.rs" "builder/src/source/deb/apt/sources.rs"];
    "archive" archive "archives that a `url` component unpacks: tar in its packings, zip"
        ["builder/src/archive.rs" "builder/src/archive/form.rs" "builder/src/archive/zip.rs"];
    "boot-entry" boot_entry "names of boot entries, as EFI variables have them"
        ["formats/src/boot_entries/started.rs"];
    "boot-entries" boot_entries "the directory of boot entries, and their names; writes and reads again what was read"
        ["formats/src/boot_entries.rs" "formats/src/boot_entries/directory.rs"];
    "cargo" cargo "`Cargo.toml`, `Cargo.lock` and `.cargo/config.toml`"
        ["builder/src/cargo_workspace.rs" "builder/src/cargo_workspace/manifest.rs"
         "builder/src/cargo_workspace/lockfile.rs" "builder/src/cargo_workspace/config.rs"];
    "command-line" command_line "the kernel command line"
        ["formats/src/command_line.rs"];
    "contents" contents "`contents.json` of another build"
        ["builder/src/contents.rs"];
    "cri" cri "the answer of the container runtime"
        ["cri/src/hpack.rs" "cri/src/protobuf.rs" "cri/src/session.rs"];
    "deb" deb "whole packages"
        ["builder/src/source/deb/shell.rs" "builder/src/source/deb/unpack.rs"
         "builder/src/source/deb/contents.rs" "formats/src/deb/ar.rs"];
    "deb-text" deb_text "control data, dependencies, versions, dates, licences"
        ["formats/src/deb/control.rs" "formats/src/deb/dependency.rs"
         "formats/src/deb/version.rs" "formats/src/deb/date.rs" "formats/src/deb/release.rs"
         "formats/src/deb/stamp.rs" "formats/src/deb/wish.rs" "formats/src/deb/copyright.rs"];
    "delta" delta "deltas of images, as they are and unpacked"
        ["formats/src/delta/header.rs" "formats/src/delta/apply.rs" "formats/src/incoming.rs"];
    "devices" devices "news of devices, what SCSI disks say of themselves, aliases of modules"
        ["node/src/devices/uevent.rs" "node/src/devices/links/scsi.rs"
         "node/src/devices/nodes.rs"];
    "dhcp" dhcp "the answer of a DHCP server"
        ["init/src/network/net/dhcp/message.rs"];
    "dhcp6" dhcp6 "the answer of a DHCPv6 server"
        ["init/src/network/net/dhcp6/message.rs"];
    "dns" dns "the answer of a name server"
        ["init/src/network/net/dns.rs"];
    "elf" elf "programs and kernel modules, and `.modinfo` in its packings"
        ["builder/src/compose/program.rs" "builder/src/compose/modules.rs"];
    "erofs" erofs "a root image: superblock, inodes, directories, attributes"
        ["formats/src/erofs/superblock.rs" "formats/src/erofs/read.rs"
         "formats/src/erofs/xattr.rs"];
    "fat" fat "FAT32 volumes; plans another content of a file"
        ["formats/src/fat/volume.rs" "formats/src/fat/directory.rs"
         "formats/src/fat/allocation.rs"];
    "go-build-info" go_build_info "what Go's linker writes into programs"
        ["builder/src/contents/elf.rs" "formats/src/go_build_info.rs"];
    "go-mod" go_mod "`go.mod`"
        ["builder/src/go_mod.rs" "builder/src/go_mod/version.rs"];
    "gpt" gpt "partition tables at both ends of a disk; grows and rewrites what was read"
        ["formats/src/gpt.rs" "formats/src/gpt/guid.rs" "formats/src/gpt/header.rs"];
    "http" http "requests that `orlop serve` gets: heads, paths, ranges, conditions"
        ["builder/src/serve/path.rs" "builder/src/serve/request.rs"];
    "image" image "archives of container images"
        ["node/src/images/archive.rs"];
    "in-release" in_release "signed release files, also with the signature of a pinned key"
        ["builder/src/source/deb/signature.rs"];
    "inspect" inspect "whatever `orlop inspect` is given"
        ["builder/src/image/inspect.rs" "builder/src/image/inspect/root.rs"
         "builder/src/image/inspect/summary.rs"];
    "keys" keys "private keys in PEM, and `keys.toml`"
        ["builder/src/keys/file.rs" "builder/src/keys/roles.rs"];
    "label" label "boot sectors, directories and firmware tables that name a node config"
        ["node/src/source/label.rs" "node/src/source/oem.rs" "formats/src/superblock/fat.rs"];
    "leftovers" leftovers "what an earlier boot left of kubelet's identity and of containerd's databases"
        ["formats/src/kubelet.rs" "node/src/crash/database.rs" "node/src/source/pin.rs"];
    "lock" lock "locks; writes and reads again what was read"
        ["builder/src/lock/text.rs"];
    "logins" logins "`auth.conf` and `.netrc`"
        ["builder/src/credentials/files.rs"];
    "manifest" manifest "a tree as text; writes again what was read"
        ["formats/src/manifest.rs"];
    "mark" mark "what a guest says on its port for boot marks"
        ["builder/src/run/watch.rs"];
    "message" message "what PID 1 and the units that are built into it say to each other"
        ["init/src/message.rs" "init/src/network/net/dhcp/kept.rs"];
    "meta" meta "the records of META; writes and reads again what was read"
        ["formats/src/meta/record.rs" "formats/src/meta/fields.rs"];
    "netlink" netlink "what the kernel tells of links, and routers of themselves"
        ["init/src/network/net/netlink/news.rs"];
    "node-config" node_config "node configurations; prints and reads again what was read"
        ["formats/src/node_config.rs" "formats/src/node_config/address.rs"
         "formats/src/node_config/containerd.rs" "formats/src/node_config/hugepages.rs"
         "formats/src/node_config/interval.rs" "formats/src/node_config/kubernetes.rs"
         "formats/src/node_config/label.rs" "formats/src/node_config/name.rs"
         "formats/src/node_config/network.rs" "formats/src/node_config/pem.rs"
         "formats/src/node_config/proxy.rs" "formats/src/node_config/route.rs"
         "formats/src/node_config/section.rs" "formats/src/node_config/sysctl.rs"
         "formats/src/node_config/token.rs"
         "formats/src/node_config/url.rs" "formats/src/node_config/window.rs"
         "node/src/configure/plan.rs"];
    "node-object" node_object "what an API server says of a Node object, and what that says of updates; writes and reads again what was read"
        ["formats/src/fleet.rs" "updater/src/cluster/objects.rs"];
    "ostree" ostree "objects, summary and configuration of an ostree repository, and names in it"
        ["formats/src/ostree.rs" "formats/src/ostree/commit.rs" "formats/src/ostree/config.rs"
         "formats/src/ostree/directory.rs" "formats/src/ostree/file.rs"
         "formats/src/ostree/gvariant.rs" "formats/src/ostree/reference.rs"
         "formats/src/ostree/summary.rs"];
    "packages" packages "package indexes in their packings"
        ["builder/src/source/deb/index.rs" "builder/src/source/deb/index/record.rs"];
    "port-map" port_map "what a CNI runtime asks of portmap, and what the kernel says to that"
        ["node/src/port_map/request.rs" "node/src/port_map/route.rs"
         "node/src/nftables/message.rs"];
    "recipe" recipe "recipes; checks and shows what was read"
        ["builder/src/recipe/value.rs" "builder/src/recipe/model.rs" "builder/src/recipe/model/values.rs"
         "formats/src/architecture.rs" "formats/src/oci/reference.rs"];
    "registry" registry "what a registry says: manifests, names, refusals, tokens; files of logins for it; documents of images"
        ["builder/src/credentials/registries.rs" "builder/src/registry/challenge.rs"
         "builder/src/registry/refusal.rs" "builder/src/registry/token.rs"
         "formats/src/oci/artifact.rs" "formats/src/oci/documents.rs"];
    "release" release "`release.json`; writes and reads again what was read"
        ["formats/src/release.rs"];
    "report" report "`build.json` of another build"
        ["builder/src/build/report.rs"];
    "repro" repro "two builds that are compared, file by file"
        ["builder/src/repro/content.rs" "builder/src/repro/disk.rs"
         "builder/src/repro/document.rs" "builder/src/repro/esp.rs"
         "builder/src/repro/initrd.rs" "builder/src/repro/program.rs"
         "builder/src/repro/root.rs" "builder/src/repro/tree.rs" "formats/src/cpio/read.rs"];
    "root" root "the first block of a root partition"
        ["init/src/pid1/initrd/verity.rs"];
    "root-zst" root_zst "a root image that is fetched by blocks: its seek table, frames, hash tree"
        ["formats/src/seekable.rs" "formats/src/blocks.rs" "formats/src/verity/leaves.rs"];
    "script" script "the script of a package, for the links that it would make"
        ["builder/src/source/deb/alternatives.rs"];
    "sntp" sntp "the answer of a time server"
        ["init/src/network/time/sntp.rs"];
    "state" state "the superblock of STATE"
        ["formats/src/superblock/ext4.rs"];
    "system" system "the files by which `orlop-node` tells PID 1"
        ["formats/src/system.rs" "formats/src/system/name_server.rs"];
    "tar" tar "tar archives, member by member"
        ["formats/src/tar/read.rs" "formats/src/tar/read/header.rs" "formats/src/tar/read/pax.rs"];
    "trial" trial "checks of a release, notes and outcomes of trials, lists of copied databases, EFI variables of the loader"
        ["formats/src/health.rs" "formats/src/loader.rs" "formats/src/trial.rs"
         "updater/src/snapshot/list.rs"];
    "tuf" tuf "metadata of TUF, names in it, times; writes and reads again what was read"
        ["formats/src/tuf/json.rs" "formats/src/tuf/name.rs" "formats/src/tuf/signed.rs"
         "formats/src/tuf/spki.rs"];
    "tuf-client" tuf_client "a client of TUF: every answer of its store and of its server"
        ["formats/src/tuf/signed.rs"];
    "uki" uki "unified kernel images, and what says that it is a boot loader"
        ["formats/src/uki.rs" "formats/src/uki/pe.rs" "formats/src/boot_loader.rs"];
    "unit" unit "units of PID 1"
        ["init/src/pid1/unit/file.rs" "init/src/pid1/unit/value.rs"];
    "updater" updater "requests at the updater's socket; writes and reads again what was read"
        ["updater/src/protocol.rs"];
    "volumes" volumes "what is on a disk that is plugged in"
        ["formats/src/superblock.rs" "formats/src/superblock/fat.rs"];
}
