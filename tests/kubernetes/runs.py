"""Runs of pyinfra on the pods, clients in a pod beside them, and faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import redis
from redis.connection import ConnectionPool

from demo.measure import find_lost, read_journal
from keydb_runbooks.connectors.cluster import Cluster
from keydb_runbooks.connectors.link import LinkConnection
from keydb_runbooks.connectors.pods import STDOUT, Pod
from keydb_runbooks.operations.holders import PREFIX
from tests.kubernetes.group import POD_NAME, PODS, Group, eventually
from tests.sandbox.printed import COLOR, Result

REPOSITORY = Path(__file__).parents[2]
INVENTORY = "inventories/kubernetes.py"

_numbers = count(1)


class Runs:
    """pyinfra with the rights of an operator; faults are made with all rights."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.admin = Cluster()
        self.environment = {
            **os.environ,
            **group.environment(),
            "PYINFRA_PROGRESS": "off",
            "COLUMNS": "200",
            "PYTHONPATH": str(REPOSITORY),
        }

    def pyinfra(self, *arguments: str, inventory: str = INVENTORY, **environment: str) -> Result:
        """Run pyinfra to its end."""
        return self._ended(["pyinfra", inventory, *arguments], environment)

    def run(
        self, verb: str, *arguments: str, dry: bool = False, environment: dict[str, str] | None = None, **data: str
    ) -> Result:
        """Run a deploy by name, ``-y`` or ``--dry``, with ``--data`` for each keyword."""
        given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
        words = [f"deploys/{verb}.py", *given, "--dry" if dry else "-y", *arguments]
        return self.pyinfra(*words, **(environment or {}))

    def dies_before(self, step: str, verb: str, **data: str) -> None:
        """Run a deploy that is killed before it does a step, and wait until the servers see its connections end.

        containerd keeps a forwarded connection for a second behind the end of its client.
        """
        given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
        words = [sys.executable, "tests/kubernetes/dying.py", step, INVENTORY, f"deploys/{verb}.py", *given, "-y"]
        ended = self._ended(words, {})
        assert ended.code == -9, ended.text
        eventually(lambda: not any(map(self._locked, PODS)), "the lock of a run that was killed ends with it", 20)

    def waits_before(
        self, step: str, verb: str, folder: Path, environment: dict[str, str] | None = None, **data: str
    ) -> Result:
        """Run a deploy that makes the file ``there`` when it stands in front of a step, and waits for the file ``go``."""
        given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
        words = [sys.executable, "tests/waiting.py", step, str(folder), INVENTORY, f"deploys/{verb}.py", *given, "-y"]
        return self._ended(words, environment or {})

    def struck_before(self, step: str, verb: str, folder: Path, strike: Callable[[], None], **data: str) -> Result:
        """Run a deploy, and strike when it stands in front of a step."""
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(self.waits_before, step, verb, folder, **data)
            eventually(lambda: (folder / "there").exists() or ended.done(), f"{verb} stands before {step}", 60)
            try:
                strike()
            finally:
                (folder / "go").touch()
            return ended.result()

    def told(self, verb: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """What a verb tells of the group as JSON. No password is in it."""
        text = self.run(verb, environment=environment, format="json").text
        assert "\n{" in text, text
        assert not any(word in text for word in self.group.passwords.values())
        (told,) = json.JSONDecoder().raw_decode(text[text.index("\n{") + 1 :])[0]["groups"]
        return dict(told)

    def status(self) -> dict[str, Any]:
        return self.told("status")

    def findings(self) -> list[str]:
        return [f"{one['code']} {one['where']}" for one in self.status()["findings"]]

    def primary(self) -> str:
        (name,) = [node["name"] for node in self.status()["nodes"] if node["role"] == "primary"]
        return str(name)

    def heal(self) -> None:
        """Start what doesn't run, and let everybody follow the primary; nothing if all are well."""
        for pod in PODS:
            eventually(lambda pod=pod: self.group.is_ready(pod) or self.resume(pod), f"{pod} is ready", 60)
        if self.findings():
            primary = self.service_leads_to()
            others = ",".join(pod for pod in PODS if pod != primary)
            if self.run("rejoin").code:
                self.run("rejoin", accept_loss=others)
            eventually(lambda: self.findings() == [], "the group is well", 60)

    # What the cluster shows

    def lease(self) -> Any:
        from kubernetes import client

        leases = client.CoordinationV1Api(self.group.api)
        return leases.read_namespaced_lease("keydb-runbooks-keydb", self.group.namespace).spec

    def leases_as_kubectl_shows_them(self) -> list[tuple[str, str]]:
        """The names and holders that `kubectl get lease` prints: the API server's own table."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.group.namespace}/leases"
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        given = {"response_type": "object", "auth_settings": ["BearerToken"], "_return_http_data_only": True}
        table = self.group.api.call_api(path, "GET", header_params=accept, **given)
        return [(str(row["cells"][0]), str(row["cells"][1])) for row in table["rows"]]

    def events(self, pod: str) -> list[str]:
        """What was told of a pod's role, oldest first."""
        chosen = f"involvedObject.name={pod},reason=RoleMoved"
        found = self.group.core.list_namespaced_event(self.group.namespace, field_selector=chosen).items
        return [one.message for one in sorted(found, key=lambda one: int(one.metadata.resource_version))]

    def described(self, pod: str) -> str:
        """The reasons of what `kubectl describe pod` shows: the events that name a pod by its uid."""
        uid = self.group.core.read_namespaced_pod(pod, self.group.namespace).metadata.uid
        chosen = f"involvedObject.uid={uid}"
        found = self.group.core.list_namespaced_event(self.group.namespace, field_selector=chosen).items
        return " ".join(one.reason for one in found)

    # Faults

    def client(self, pod: str, user: str) -> redis.Redis:
        """A client of one server, from outside of the cluster."""
        reached = Pod(self.admin, self.group.namespace, pod, "server")
        pool = ConnectionPool(
            connection_class=LinkConnection,
            dial=lambda timeout: reached.connect(6379, timeout),
            tls_ca=self.group.ca,
            host=f"{pod}.keydb.{self.group.namespace}.svc.cluster.local",
            username=user,
            password=self.group.passwords[user],
            protocol=2,
            decode_responses=True,
            driver_info=None,
        )
        return redis.Redis(connection_pool=pool)

    def shell(self, pod: str, script: str, container: str = "server") -> str:
        """What a script prints in a container, a server's for instance."""
        printed: list[bytes] = []
        whole = Pod(self.admin, self.group.namespace, pod, container)
        whole.run(["sh", "-c", script], seen=lambda at, text: printed.append(text) if at == STDOUT else None)
        return b"".join(printed).decode()

    def stop(self, pod: str) -> None:
        """End a server and keep it from being started again."""
        self.shell(pod, "touch /data/stopped; kill -9 $(cat /data/server.pid)")

    def freeze(self, pod: str) -> None:
        self.shell(pod, "kill -STOP $(cat /data/server.pid)")

    def resume(self, pod: str) -> None:
        """What undoes both; a pod that isn't there has nothing to undo."""
        from keydb_runbooks.connectors.cluster import ClusterError

        try:
            self.shell(pod, "rm -f /data/stopped; kill -CONT $(cat /data/server.pid)")
        except ClusterError:
            return

    def _locked(self, pod: str) -> bool:
        with closing(self.client(pod, "operator")) as client:
            return any(row["name"].startswith(f"{PREFIX}:") for row in client.client_list())

    # The Service and its clients

    def selected(self) -> dict[str, str]:
        return dict(self.group.core.read_namespaced_service("keydb-write", self.group.namespace).spec.selector)

    def service_leads_to(self) -> str | None:
        return self.selected().get(POD_NAME)

    @contextmanager
    def writing(self, clients: int = 4, per_second: int = 400, patience_seconds: int = 5) -> Iterator[Writer]:
        """Clients in a pod of their own, who know the Service's name and nothing else.

        :param patience_seconds: how long they wait for an answer, before they disconnect by themselves
        """
        name = f"writer-{next(_numbers)}"
        self.group.create(self.group.writer(name, clients, per_second, patience_seconds))
        writer = Writer(self, name)
        try:
            writer.goes_on(patience_seconds=60)
            writer.begun = max(float(row[0]) for row in writer.journal())
            yield writer
        finally:
            self.group.core.delete_namespaced_pod(name, self.group.namespace, grace_period_seconds=0)

    def _ended(self, words: list[str], environment: dict[str, str]) -> Result:
        done = subprocess.run(
            words,
            cwd=REPOSITORY,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, COLOR.sub("", done.stdout))


@dataclass
class Writer:
    """The clients of one pod."""

    runs: Runs
    name: str
    begun: float = 0.0
    """When everybody wrote, by the machine's monotonic clock: what was before is nobody's gap."""

    def journal(self) -> list[list[str]]:
        """Every answer so far: seconds, client, number, outcome."""
        printed: list[bytes] = []
        pod = Pod(self.runs.admin, self.runs.group.namespace, self.name, "writer")
        pod.run(["cat", "/tmp/journal"], seen=lambda at, text: printed.append(text) if at == STDOUT else None)
        rows = [line.split() for line in b"".join(printed).decode().splitlines()]
        return [row for row in rows if len(row) == 4]

    def acknowledged(self, client: int | None = None) -> int:
        return sum(row[3] == "ok" and client in (None, int(row[1])) for row in self.journal())

    def goes_on(self, patience_seconds: float = 20) -> None:
        """Wait until writes of every client are acknowledged again."""
        before: dict[str, int] = {}

        def more() -> bool:
            try:
                rows = self.journal()
            except Exception:  # the pod is not there yet
                return False
            now = {row[1]: int(row[2]) for row in rows if row[3] == "ok"}
            if not before:
                before.update(now)
                return False
            return len(now) > 1 and all(now[client] > before[client] + 3 for client in before)

        eventually(more, f"every client of {self.name} gets its writes acknowledged", patience_seconds)

    def gap(self) -> float:
        """As ``longest_gap``, from its begin on."""
        return longest_gap(self.journal(), self.begun)

    def lost(self, folder: Path) -> int:
        """How many of the acknowledged writes the primary no longer has."""
        path = folder / "journal.txt"
        path.write_text("".join(f"{' '.join(row)}\n" for row in self.journal()))
        writes = read_journal(path)
        assert len(writes) > 100, "too few writes to tell anything"
        with closing(self.runs.client(str(self.runs.service_leads_to()), "application")) as client:
            return len(find_lost(writes, client))


def longest_gap(journal: list[list[str]], since: float) -> float:
    """The longest time in milliseconds between two acknowledged writes of any one client, from a moment on."""
    times: dict[str, list[float]] = {}
    for row in journal:
        if row[3] == "ok" and float(row[0]) >= since:
            times.setdefault(row[1], []).append(float(row[0]))
    return 1000 * max(after - before for each in times.values() for before, after in pairwise(sorted(each)))
