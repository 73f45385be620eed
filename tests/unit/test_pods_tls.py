"""Certificates of groups on pods: what install makes of the inventory's files, and what it gives to nobody."""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_pod_proxies import GIVEN, proxied
from test_pods_install import documents, group

from keydb_runbooks.connectors.certificates import kept_certificates
from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.group import Group, PodProxies
from keydb_runbooks.connectors.link import LinkError
from keydb_runbooks.operations import haproxy, keydb, manifests, pods, pods_renewal, pods_tls
from keydb_runbooks.runbooks.configuration import parse
from keydb_runbooks.templates import plain

DOMAIN = "shop.svc.cluster.local"
CALLED = [f"*.cache.{DOMAIN}", f"cache-write.{DOMAIN}", f"cache-read.{DOMAIN}"]


def files(folder: Path, *names: str) -> dict[str, str]:
    return kept_certificates(folder, list(names or CALLED))


def encrypted(folder: Path, *names: str) -> Group:
    return group(**files(folder, *names))


def secret(of: dict[str, str]) -> dict:
    """A Secret with these files, as cert-manager makes one."""
    names = {"ca.crt": "keydb_tls_ca", "tls.crt": "keydb_tls_certificate", "tls.key": "keydb_tls_key"}
    return {"data": {name: base64.b64encode(Path(of[key]).read_bytes()).decode() for name, key in names.items()}}


class Objects:
    """A namespace with one Secret, none, or an error."""

    told = "namespace shop"

    def __init__(self, found: dict | ClusterError | None) -> None:
        self.found = found

    def read(self, kind: str, name: str) -> dict | None:
        if isinstance(self.found, ClusterError):
            raise self.found
        return self.found


def test_the_key_is_in_the_secret_and_nowhere_else(tmp_path):
    of = replace(proxied(**files(tmp_path / "own")), pod_proxies=PodProxies({**GIVEN, **files(tmp_path / "own")}))
    made = {f"{one['kind']}/{one['metadata']['name']}": one for one in manifests.documents(of, None)}
    key = Path(of.nodes[0].data("keydb_tls_key")).read_bytes()
    assert base64.b64decode(made["Secret/cache-tls"]["data"]["tls.key"]) == key
    assert made["Secret/cache-tls"]["type"] == "kubernetes.io/tls"
    shown = manifests.readable(made.pop("Secret/cache-tls"))
    assert "(secret)" in str(shown)
    told = f"{made}{shown}"
    assert key.decode() not in told and base64.b64encode(key).decode() not in told and "PRIVATE" not in told
    assert [one["metadata"]["name"] for one in manifests.secrets(of)] == ["cache"], (
        "passwords are rotated by themselves"
    )


def test_servers_have_the_secret_closed_to_others_and_proxies_the_ca_alone(tmp_path):
    of = replace(proxied(**files(tmp_path / "own")), pod_proxies=PodProxies({**GIVEN, **files(tmp_path / "own")}))
    made = {f"{one['kind']}/{one['metadata']['name']}": one for one in manifests.documents(of, None)}
    for kind, name, items in (
        ("StatefulSet/cache", "certificate", None),
        ("Deployment/cache-proxy", "ca", [{"key": "ca.crt", "path": "ca.crt"}]),
    ):
        spec = made[kind]["spec"]["template"]["spec"]
        volume = next(one["secret"] for one in spec["volumes"] if one["name"] == name)
        assert (volume["secretName"], volume["defaultMode"], volume.get("items")) == ("cache-tls", 0o440, items)
        mounts = {one["name"]: one for one in spec["containers"][0]["volumeMounts"]}
        assert mounts[name] == {"name": name, "mountPath": "/etc/keydb-tls", "readOnly": True}
    assert "ca-file /etc/keydb-tls/ca.crt" in made["ConfigMap/cache-proxy"]["data"]["haproxy.cfg"]
    conf = {line.name: line.values for line in parse(made["ConfigMap/cache"]["data"]["cache-1.conf"])}
    assert (conf["port"], conf["tls-port"], conf["tls-replication"]) == (("0",), ("6379",), ("yes",))
    assert conf["tls-key-file"] == ("/etc/keydb-tls/tls.key",)
    assert manifests.trial(of)["spec"]["containers"][0]["env"][-1] == {"name": "TLS", "value": "yes"}
    assert "/etc/keydb-tls" not in str(documents()["StatefulSet/cache"]), "others have nothing of it"


def test_another_ca_starts_other_proxies(tmp_path):
    sums = []
    for name in ("one", "other"):
        own = files(tmp_path / name)
        of = replace(proxied(**own), pod_proxies=PodProxies({**GIVEN, **own}))
        sums.append(manifests._proxy_values(of, of.pod_proxies)["checksum"])
    assert sums[0] != sums[1]


def test_a_secret_that_exists_is_not_made(tmp_path):
    own = files(tmp_path / "own")
    of = group(keydb_tls_ca=own["keydb_tls_ca"], keydb_tls_secret="theirs")
    made = documents(of)
    assert [name for name in made if name.startswith("Secret")] == ["Secret/cache"]
    volumes = made["StatefulSet/cache"]["spec"]["template"]["spec"]["volumes"]
    assert "theirs" in [one.get("secret", {}).get("secretName") for one in volumes]
    assert "tls-port 6379" in keydb.wanted_configuration(of.nodes[0])


def refused(of: Group, there: dict | ClusterError | None = None) -> str:
    return str(pods_tls.refuse(of, Objects(there)) or "")


def test_a_certificate_has_every_name_that_servers_are_called_by(tmp_path):
    assert refused(encrypted(tmp_path / "good")) == "" == refused(group())
    told = refused(encrypted(tmp_path / "lacking", CALLED[0], CALLED[2]))
    assert told.startswith(
        "refused: not-trusted secret/cache-tls: is refused by who calls cache-write.shop.svc.cluster"
    )


def test_a_secret_that_exists_is_one_that_everybody_trusts(tmp_path):
    own, strangers = files(tmp_path / "own"), files(tmp_path / "strangers")
    of = group(keydb_tls_ca=own["keydb_tls_ca"], keydb_tls_secret="theirs")
    assert refused(of, secret(own)) == ""
    assert refused(of).startswith("refused: no-secret secret/theirs: keydb_tls_secret names it, and namespace shop has")
    lacking = {"data": {**secret(own)["data"], "ca.crt": ""}}
    assert refused(of, lacking).startswith("refused: no-secret secret/theirs: has no key ca.crt")
    told = refused(of, secret(strangers))
    assert told.startswith(
        "refused: not-trusted secret/theirs: is refused by who calls cache-0.cache.shop.svc.cluster.local"
    )
    mixed = {"data": {**secret(own)["data"], "tls.key": secret(strangers)["data"]["tls.key"]}}
    assert "KEY_VALUES_MISMATCH" in refused(of, mixed)
    assert refused(of, ClusterError("not-permitted", "no")).startswith("refused: no-right secret/theirs: no")


def running(of: Group, monkeypatch, error: LinkError | None = None) -> None:
    """All pods of a group run, and links to them meet an error or none."""

    def link(node):
        if error is not None:
            raise error
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(pods_tls, "runs", lambda _: True)
    monkeypatch.setattr(pods_tls, "link", link)


def test_a_new_certificate_is_one_that_servers_with_the_old_ca_trust(tmp_path, monkeypatch):
    before, of = files(tmp_path / "before"), encrypted(tmp_path / "own")
    running(of, monkeypatch)
    assert pods_tls.refuse_renewal(group(), None) is None
    assert pods_tls.refuse_renewal(of, None) is None
    assert pods_tls.refuse_renewal(of, {"data": {}}) is None
    assert pods_tls.refuse_renewal(of, secret(files(tmp_path / "own"))) is None
    told = str(pods_tls.refuse_renewal(of, secret(before)))
    assert "unable to get local issuer certificate, with the CA that servers have now" in told
    assert "give the old and the new CA in one file first" in told


@pytest.mark.parametrize("code, detail, told", [
    ("not-trusted", "the certificate of x is not good: unable to get local issuer certificate", "not good"),
    ("not-trusted", "the certificate of x is not good: certificate has expired", ""),
    ("not-trusted", "the certificate of x is not good: Hostname mismatch, certificate is not valid for 'x'", ""),
    ("no-answer", "x did not answer in time", ""),
])  # fmt: skip
def test_a_new_ca_trusts_the_servers_that_run(tmp_path, monkeypatch, code, detail, told):
    of = encrypted(tmp_path / "own")
    running(of, monkeypatch, LinkError(code, detail))
    assert told in str(pods_tls.refuse_renewal(of, None) or "")
    assert bool(told) is (pods_tls.refuse_renewal(of, None) is not None)


def test_pods_of_one_set_have_one_certificate_and_its_proxies_trust_it(tmp_path, monkeypatch):
    own, other = files(tmp_path / "own"), files(tmp_path / "other")
    of = replace(proxied(**own), pod_proxies=PodProxies({**GIVEN, **own}))
    monkeypatch.setattr(pods, "all_groups", lambda _: {of.name: of})
    assert list(pods.wrong(of)) == []
    of = replace(of, pod_proxies=PodProxies({**GIVEN, **other}))
    assert list(pods.wrong(of)) == ["haproxy: keydb_tls_ca: differs from cache-0's; all of a group trust the same"]


def test_a_proxys_file_names_the_ca_in_the_pod(tmp_path):
    assert haproxy.ca_path(PodProxies({})) == "/etc/keydb-tls/ca.crt"


def tried(folder: Path, script: str, **programs: str) -> str:
    """What an image says that lacks nothing but what is asked for."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "PROGRAM": "server", "TLS": "yes"}
    done = subprocess.run(["bash", "-c", plain(script)], env=environment, capture_output=True, text=True, timeout=30)
    assert bool(done.returncode) is bool(done.stdout)
    return done.stdout.strip()


def test_an_image_whose_programs_were_built_without_tls_is_told(tmp_path):
    asks = "echo 'You must configure tls-cert-file'; exit 1"
    knows_not = "echo Bad directive; exit 1"
    assert tried(tmp_path / "good", "pods/image.sh", server=asks) == ""
    assert tried(tmp_path / "bad", "pods/image.sh", server=knows_not) == "it lacks TLS in server"
    assert tried(tmp_path / "with", "pods/proxy-image.sh", haproxy="echo Feature list : +OPENSSL +ZLIB") == ""
    told = tried(tmp_path / "without", "pods/proxy-image.sh", haproxy="echo Feature list : -OPENSSL +ZLIB")
    assert told == "it lacks TLS in haproxy"


def test_an_image_without_openssl_is_told(tmp_path):
    for name in plain("pods/image.sh").partition("for program in ")[2].partition(";")[0].split()[1:]:
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "server").write_text("#!/bin/sh\necho tls-cert-file\n")
    (tmp_path / "server").chmod(0o755)
    environment = {"PATH": str(tmp_path), "PROGRAM": "server", "TLS": "yes"}
    words = ["/bin/bash", "-c", plain("pods/image.sh")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout == "it lacks openssl\n" and done.returncode


def test_what_servers_shall_have_is_told_by_files_or_by_the_secret(tmp_path, monkeypatch):
    own = files(tmp_path / "own")
    digest = sha256(b"".join(Path(own[key]).read_bytes() for key in ("keydb_tls_ca", "keydb_tls_certificate")))
    of = encrypted(tmp_path / "own")
    assert pods_renewal._wanted(of, of.nodes[0]) == digest.hexdigest()
    theirs = group(keydb_tls_ca=own["keydb_tls_ca"], keydb_tls_secret="theirs")
    for found, told in (
        (secret(own), digest.hexdigest()),
        (None, None),
        (ClusterError("no-answer", "silence"), None),
    ):
        monkeypatch.setattr(pods_renewal, "objects_at", lambda _, found=found: Objects(found))
        assert pods_renewal._wanted(theirs, theirs.nodes[0]) == told


def test_a_pod_of_another_secret_waits_for_its_restart(tmp_path, monkeypatch):
    of = encrypted(tmp_path / "own")
    for name, given in (("cache-tls", True), ("another", False)):
        seen = {"spec": {"volumes": [{"configMap": {}}, {"secret": {"secretName": name}}]}}
        monkeypatch.setattr(pods_renewal, "connector_of", lambda _, seen=seen: SimpleNamespace(seen=seen))
        assert pods_renewal._is_given(of, of.nodes[0]) is given
