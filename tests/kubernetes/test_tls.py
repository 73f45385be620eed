"""Everything encrypted: clients, replication, checks, probes, boot guards and links; on pods that install makes."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keydb_runbooks.connectors import certificates
from keydb_runbooks.connectors.certificates import kept_certificates
from keydb_runbooks.connectors.pods import Pod
from keydb_runbooks.connectors.tls import TlsStream
from tests.kubernetes.group import PODS, eventually, made
from tests.kubernetes.images import ENGINE, PROGRAM
from tests.kubernetes.installed import Installed, InstalledRuns
from tests.kubernetes.test_proxies import Proxied, ProxiedRuns

FILES = {"ca.crt": "keydb_tls_ca", "tls.crt": "keydb_tls_certificate", "tls.key": "keydb_tls_key"}

# Clients speak plainly to what stands beside them, and that speaks TLS to the Service by its name.
CLIENTS = """
socat TCP-LISTEN:6379,bind=127.0.0.1,fork,reuseaddr OPENSSL:$SERVICE:6379,pf=ip4,cafile=/tls/ca.crt,verify=1 &
exec /bin/writer 127.0.0.1 6379 "$@"
"""


def has_tls() -> bool:
    words = [PROGRAM, "--port", "0", "--tls-port", "1"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10, stdin=subprocess.DEVNULL)
    return "tls-cert-file" in told.stdout + told.stderr


pytestmark = pytest.mark.skipif(not has_tls(), reason=f"{ENGINE} was built without TLS here")


class Encrypted(Installed):
    """Its certificate names what clients and servers call each other by."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.own = self.certificate("first")
        self.give(self.own)

    def certificate(self, name: str, *names: str) -> Path:
        """A folder with a certificate of a CA of its own, under the names that a Secret has for the files."""
        domain = f"{self.namespace}.svc.cluster.local"
        named = names or (f"*.keydb.{domain}", f"keydb-write.{domain}", f"keydb-read.{domain}")
        made = kept_certificates(self.folder / f"made-{name}", list(named))
        (self.folder / name).mkdir()
        for file, key in FILES.items():
            shutil.copy(made[key], self.folder / name / file)
        return self.folder / name

    def give(self, folder: Path) -> None:
        """From now on the inventory names this one."""
        self.ca, self.given = str(folder / "ca.crt"), folder

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "KEYDB_KUBERNETES_TLS": str(self.given)}

    def writer(self, name: str, clients: int, per_second: int, patience_seconds: int) -> dict[str, Any]:
        made = super().writer(name, clients, per_second, patience_seconds)
        (container,) = made["spec"]["containers"]
        container["command"] = ["sh", "-c", CLIENTS, "sh"]
        container["args"] = container["args"][2:]
        container["env"] = [{"name": "SERVICE", "value": f"keydb-write.{self.namespace}.svc.cluster.local"}]
        container["volumeMounts"] = [{"name": "tls", "mountPath": "/tls"}]
        secret = {"secretName": self.tls_secret, "items": [{"key": "ca.crt", "path": "ca.crt"}]}
        made["spec"]["volumes"] = [{"name": "tls", "secret": secret}]
        return made

    tls_secret = "keydb-tls"


class EncryptedBehindProxies(Encrypted, Proxied):
    """Both."""


def shown(runs: InstalledRuns, pod: str, ca: str) -> str:
    """The certificate that a server shows, which has to be of a CA and to name the pod."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=ca)
    way = Pod(runs.admin, runs.group.namespace, pod, "server").connect(6379, 5)
    try:
        stream = TlsStream(way, context, f"{pod}.keydb.{runs.group.namespace}.svc.cluster.local")
        return ssl.DER_cert_to_PEM_cert(stream._tls.getpeercert(binary_form=True) or b"")
    finally:
        way.close()


def test_tls_everywhere_behind_proxies_and_no_acknowledged_write_is_lost(tmp_path):
    with made(EncryptedBehindProxies(tmp_path)) as group:
        runs = ProxiedRuns(group)
        text = runs.run("install").ok().text
        assert "keydb-0 is the primary of keydb" in text and "PRIVATE KEY" not in text
        # As cluster/drift.yaml does, which has the CA and not the key.
        (group.given / "tls.key").rename(tmp_path / "hidden")
        runs.run("drift", environment={"KEYDB_KUBERNETES_TLS_SECRET": "keydb-tls"}).ok()
        (tmp_path / "hidden").rename(group.given / "tls.key")
        for name in ("keydb", "keydb-proxy"):
            given = str(group.core.read_namespaced_config_map(name, group.namespace).data)
            assert "PRIVATE KEY" not in given and "CERTIFICATE" not in given
        told = runs.shell(
            "keydb-1", "stat -L -c %a:%u:%g /etc/keydb-tls/tls.key; ls /data; grep ^port /data/keydb.conf"
        )
        assert told.split()[0] == "440:0:999" and "key" not in told.replace("keydb", "") and "port 0" in told
        with runs.writing() as writer:
            runs.run("switchover", to="keydb-1").ok()
            writer.goes_on()
            assert writer.lost(tmp_path) == 0
            # It asks its peers, who answer encrypted only, and the probes see that it is in sync.
            runs.delete("keydb-2")
            runs.comes_back("keydb-2")
        assert "follow: keydb-1, which is primary" in runs.log("keydb-2")
        eventually(lambda: runs.findings() == [], "the group is well", 60)


@pytest.mark.slow
def test_a_primary_that_is_lost_and_one_that_ends_under_tls(tmp_path):
    with made(EncryptedBehindProxies(tmp_path)) as group:
        runs = ProxiedRuns(group)
        runs.run("install").ok()
        group.wait()
        assert runs.run("install").ok().total()[1:3] == (0, 0), "again changes nothing"
        with runs.writing() as writer:
            runs.shell("keydb-0", "kill -9 $(cat /data/server.pid)")
            eventually(lambda: "guarded start" in runs.log("keydb-0") and runs.is_guarded("keydb-0"), "guarded", 60)
            runs.run("failover").ok()
            writer.goes_on()
        runs.comes_back("keydb-0")
        runs.run("rejoin").ok()
        assert runs.findings() == []
        primary = runs.primary()
        with runs.writing(clients=2) as writer:
            runs.delete(primary)
            runs.comes_back(primary)
            writer.goes_on(60)
            assert writer.lost(tmp_path) == 0, "its replicas had everything before it ended"
        assert runs.primary() == primary
        # Every certificate names its own group's pods, and a program without TLS is told before anything is made.
        other = {"KEYDB_KUBERNETES_STATEFULSET": "other", "KEYDB_KUBERNETES_ROUTING": "service"}
        runs.run("install", environment=other).refused("keydb_tls_certificate", "other-0.other", "mismatch")
        domain = f"{group.namespace}.svc.cluster.local"
        named = group.certificate("other", f"*.other.{domain}", f"other-write.{domain}")
        other |= {"KEYDB_KUBERNETES_TLS": str(named)}
        told = "refused: not-trusted secret/other-tls: is refused by who calls other-read."
        runs.run("install", environment=other).refused(told)
        group.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain"}, "stringData": {"x": "y"}})
        secret = {**other, "KEYDB_KUBERNETES_TLS_SECRET": "plain"}
        runs.run("install", environment=secret).refused("refused: no-secret secret/plain: has no key ca.crt")
        named = group.certificate("third", f"*.other.{domain}", f"other-write.{domain}", f"other-read.{domain}")
        other |= {"KEYDB_KUBERNETES_TLS": str(named)}
        refused = runs.run("install", environment=other, keydb_server="/bin/cat")
        refused.refused("refused: image-not-usable", "it lacks TLS in")
        assert [name for name in runs.there() if "other" in name] == []


@pytest.mark.slow
def test_another_ca_comes_in_three_steps_without_a_restart_and_no_tls_with_a_gap(tmp_path):
    with made(Encrypted(tmp_path)) as group:
        runs = InstalledRuns(group)
        runs.run("install").ok()
        group.wait()
        first, second, both = group.own, group.certificate("second"), tmp_path / "both.crt"
        both.write_text((first / "ca.crt").read_text() + (second / "ca.crt").read_text())

        def install(folder: Path, ca: Path) -> Any:
            group.ca = str(ca)
            files = {FILES[name]: str(folder / name) for name in ("tls.crt", "tls.key")}
            return runs.run("install", keydb_tls_ca=str(ca), **files)

        told = "refused: not-trusted secret/keydb-tls: is refused by who calls keydb-0.keydb."
        with runs.nobody_restarts(), runs.writing(clients=2) as writer:
            install(second, second / "ca.crt").refused(told, "with the CA that servers have now", "in one file first")
            for folder, ca in ((first, both), (second, both), (second, second / "ca.crt")):
                done = install(folder, ca).ok()
                assert "secret/keydb-tls is changed" in done.text and "PRIVATE KEY" not in done.text
                assert {shown(runs, pod, str(ca)) for pod in PODS} == {(folder / "tls.crt").read_text()}
                assert install(folder, ca).ok().total()[1:3] == (0, 0), "again changes nothing"
            writer.goes_on()
            assert writer.lost(tmp_path) == 0
        group.give(second)
        runs.environment.update(group.environment())
        runs.delete(replica := next(pod for pod in PODS if pod != runs.primary()))
        runs.comes_back(replica)
        runs.run("switchover").ok()
        primary = runs.primary()

        without = {"KEYDB_KUBERNETES_TLS": ""}
        told = "refused: tls-differs statefulset/keydb: its pods speak TLS, and the inventory asks for no TLS"
        runs.run("install", environment=without).refused(told)
        with runs.nobody_restarts():
            keys = runs.status()["nodes"][0]["keys"]
        runs.run("uninstall", whole_group="keydb").ok()
        runs.environment.update(without)
        runs.run("install").ok()
        runs.comes_back(primary)
        assert runs.primary() == primary and runs.status()["nodes"][0]["keys"] == keys > 100
        runs.run("drift").ok()


@pytest.mark.slow
def test_a_certificate_that_somebody_else_keeps_is_taken_over_when_it_is_renewed(tmp_path):
    class Theirs(Encrypted):
        tls_secret = "certificate"

        def environment(self) -> dict[str, str]:
            return {**super().environment(), "KEYDB_KUBERNETES_TLS_SECRET": self.tls_secret}

    def data(folder: Path, ca: str) -> dict[str, str]:
        return {"ca.crt": ca, **{name: (folder / name).read_text() for name in ("tls.crt", "tls.key")}}

    with made(Theirs(tmp_path)) as group:
        runs = InstalledRuns(group)
        renewed = group.certificate("renewed")
        cas = "".join((folder / "ca.crt").read_text() for folder in (group.own, renewed))
        (group.own / "ca.crt").write_text(cas)
        runs.run("install").refused("refused: no-secret secret/certificate: keydb_tls_secret names it")
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certificate"}}
        group.create({**secret, "stringData": data(group.own, cas)})
        runs.run("install").ok()
        group.wait()
        with runs.nobody_restarts(), runs.writing(clients=2) as writer:
            group.core.patch_namespaced_secret("certificate", group.namespace, {"stringData": data(renewed, cas)})
            runs.run("install").ok()
            assert {shown(runs, pod, str(group.ca)) for pod in PODS} == {(renewed / "tls.crt").read_text()}
            assert runs.run("install").ok().total()[1:3] == (0, 0), "again changes nothing"
            writer.goes_on()
            assert writer.lost(tmp_path) == 0
        runs.run("backup", save_to=str(tmp_path / "backups")).ok()
        (backup,) = (tmp_path / "backups").glob("*.rdb")
        runs.run("restore", backup=str(backup), accept_replace="yes").ok()
        runs.run("restart").ok()
        runs.run("uninstall", whole_group="keydb", remove_data="yes").ok()
        assert [one.metadata.name for one in group.core.list_namespaced_secret(group.namespace).items] == [
            "certificate"
        ]


@pytest.mark.slow
def test_a_certificate_that_ran_out_ends_no_server_and_install_brings_another_one(tmp_path, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setattr(certificates, "LIFETIME", timedelta(seconds=100))
        group = Encrypted(tmp_path)
    with made(group):
        runs = InstalledRuns(group)
        runs.run("install").ok()
        group.wait()

        def ran_out() -> bool:
            try:
                shown(runs, "keydb-0", str(group.own / "ca.crt"))
            except ssl.SSLCertVerificationError as error:
                return "expired" in error.verify_message
            return False

        with runs.nobody_restarts():
            eventually(ran_out, "its time is over", 120)
            runs.run("switchover").refused("keydb_tls_certificate", "certificate has expired")
            # Its CA is another one as well.
            group.give(group.certificate("another"))
            runs.environment.update(group.environment())
            runs.run("install").refused("refused: not-trusted secret/keydb-tls", "force_conflicts=yes")
            assert all(group.is_ready(pod) for pod in PODS), "probes look at no certificate"
            runs.run("install", force_conflicts="yes").ok()
            eventually(lambda: runs.findings() == [], "everybody trusts everybody", 60)
        runs.delete("keydb-2")
        runs.comes_back("keydb-2")
        runs.run("switchover").ok()
