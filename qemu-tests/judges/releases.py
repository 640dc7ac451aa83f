"""The reference implementation of TUF judges our releases, and gives us some of its own.

    releases.py read DIRECTORY NAME...
    releases.py fetch DIRECTORY ADDRESS ROOT NAME...
    releases.py write DIRECTORY
    releases.py sign DIRECTORY TO NAME...

`read` serves the directory on the loopback address, begins with `metadata/1.root.json`, refreshes, and
prints a line `DIGEST LENGTH NAME` for each target that it downloads; `fetch` does so from an address where
somebody else serves it. `sign` makes a repository of files of DIRECTORY with keys of its own. `write` makes a repository with
keys of every kind, a root that was replaced, and a role that targets are delegated to.
"""

import datetime
import functools
import hashlib
import http.server
import pathlib
import sys
import tempfile
import threading

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import Updater

FAR = datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def read(directory, names):
    handler = functools.partial(Quiet, directory=directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            root = pathlib.Path(directory, "metadata", "1.root.json")
            download(root, f"http://127.0.0.1:{server.server_port}", names)
        finally:
            server.shutdown()


def download(root, address, names):
    with tempfile.TemporaryDirectory() as place:
        updater = Updater(
            metadata_dir=place,
            metadata_base_url=f"{address}/metadata/",
            target_dir=place,
            target_base_url=f"{address}/targets/",
            bootstrap=root.read_bytes(),
        )
        updater.refresh()
        for name in names:
            info = updater.get_targetinfo(name)
            if info is None:
                sys.exit(f"{name}: there is no such target")
            content = pathlib.Path(updater.download_target(info)).read_bytes()
            print(hashlib.sha256(content).hexdigest(), len(content), name)


def sign(directory, to, names):
    make = [CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa]
    kinds = make + make[1:2]
    signers = dict(zip(["root", "timestamp", "snapshot", "targets"], [make() for make in kinds]))
    metadata = pathlib.Path(to, "metadata")
    metadata.mkdir(parents=True)

    def keep(name, role, by):
        signed = Metadata(role)
        signed.sign(signers[by])
        data = signed.to_bytes()
        (metadata / name).write_bytes(data)
        return MetaFile.from_data(role.version, data, ["sha256"])

    root = Root(expires=FAR, consistent_snapshot=True)
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
    keep("1.root.json", root, "root")
    targets = Targets(expires=FAR)
    for name in names:
        path = pathlib.Path(directory, "targets", name)
        [path] = path.parent.glob("*." + path.name)
        content = path.read_bytes()
        file = TargetFile.from_data(name, content, ["sha512", "sha256"])
        if path.name.endswith(".release.json"):
            file.unrecognized_fields["custom"] = {"number": 7}
        targets.targets[name] = file
        for digest in file.hashes.values():
            place = pathlib.Path(to, "targets", name)
            place = place.with_name(f"{digest}.{place.name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    meta = {"targets.json": keep("1.targets.json", targets, "targets")}
    snapshot = keep("1.snapshot.json", Snapshot(expires=FAR, meta=meta), "snapshot")
    keep("timestamp.json", Timestamp(expires=FAR, snapshot_meta=snapshot), "timestamp")


def write(directory):
    metadata = pathlib.Path(directory, "metadata")
    metadata.mkdir(parents=True)
    make = [CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa]
    owners = [generate() for generate in make]
    signers = {
        "timestamp": [CryptoSigner.generate_ecdsa()],
        "snapshot": [CryptoSigner.generate_ed25519()],
        "targets": [CryptoSigner.generate_rsa()],
    }

    def keep(name, role, by):
        signed = Metadata(role)
        for signer in by:
            signed.sign(signer, append=True)
        data = signed.to_bytes()
        (metadata / name).write_bytes(data)
        return MetaFile.from_data(role.version, data, ["sha256", "sha512"])

    root = Root(expires=FAR, consistent_snapshot=True)
    root.unrecognized_fields["x-owner"] = {"né": ['"\\\n', -1, None, True]}
    for signer in owners:
        root.add_key(signer.public_key, "root")
    for role, by in signers.items():
        root.add_key(by[0].public_key, role)
    root.roles["root"].threshold = 3
    keep("1.root.json", root, owners)
    replaced, owners = owners, [generate() for generate in make]
    for old, new in zip(replaced, owners):
        root.revoke_key(old.public_key.keyid, "root")
        root.add_key(new.public_key, "root")
    root.version = 2
    keep("2.root.json", root, replaced + owners)

    def target(name, content, kinds):
        file = TargetFile.from_data(name, content, kinds)
        file.unrecognized_fields["custom"] = {"epoch": 3}
        for digest in file.hashes.values():
            place = pathlib.Path(directory, "targets", name)
            place = place.with_name(f"{digest}.{place.name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return file

    role = CryptoSigner.generate_ed25519()
    delegated = DelegatedRole("a channel", [role.public_key.keyid], 1, True, paths=["1.?/*"])
    targets = Targets(expires=FAR)
    targets.targets["plain"] = target("plain", b"plain", ["sha512"])
    keys = {role.public_key.keyid: role.public_key}
    targets.delegations = Delegations(keys, {"a channel": delegated})
    channel = Targets(version=7, expires=FAR)
    channel.targets["1.0/root é"] = target("1.0/root é", b"x" * 70000, ["sha256", "sha512"])
    meta = {
        "targets.json": keep("1.targets.json", targets, signers["targets"]),
        "a channel.json": keep("7.a channel.json", channel, [role]),
    }
    snapshot = Snapshot(version=3, expires=FAR, meta=meta)
    named = keep("3.snapshot.json", snapshot, signers["snapshot"])
    keep("timestamp.json", Timestamp(expires=FAR, snapshot_meta=named), signers["timestamp"])


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2], sys.argv[3:])
    elif sys.argv[1] == "fetch":
        download(pathlib.Path(sys.argv[4]), sys.argv[3], sys.argv[5:])
    elif sys.argv[1] == "sign":
        sign(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        write(sys.argv[2])
