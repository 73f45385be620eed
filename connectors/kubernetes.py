"""Pods as hosts: ``@kubernetes/NAMESPACE/POD``, and ``@kubernetes/NAMESPACE/statefulset/NAME`` for all pods of one.

``@kubernetes/NAMESPACE/deployment/NAME`` are those that a Deployment has when the inventory is read: proxies, which
come and go under other names. None of them, where there is none.

Commands run in the container by exec, files travel as a command's input and output (no tar is needed in the image), and
a link is a port-forward. Each is a stream of its own to whatever pod has the name then, so one that comes back is
reached again; one that is away is a host that can't be reached, and nothing more.

``sh``, ``cat`` and ``head`` must be in the image. The server must listen on the pod's loopback address too, since
that is where a port-forward comes out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import IOBase
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import quote

from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, InventoryError
from pyinfra.api.output import echo, format_text
from pyinfra.api.util import get_file_io
from pyinfra.connectors.base import BaseConnector, ConnectorData, DataMeta
from pyinfra.connectors.util import (
    CommandOutput,
    OutputLine,
    extract_control_arguments,
    make_unix_command_for_host,
)
from typing_extensions import Unpack, override

from keydb_runbooks.connectors.cluster import Cluster, ClusterError, cluster_of, place
from keydb_runbooks.connectors.pods import STDOUT, WITH_INPUT, Pod, PodSocket
from keydb_runbooks.runbooks.objects import scaling

if TYPE_CHECKING:
    from pyinfra.api.arguments import ConnectorArguments

PREFIX = "@kubernetes/"

PATIENCE_SECONDS = 5.0
"""How long the API server may take to say what a pod is, before any server is asked anything."""

CONTEXT = "KEYDB_KUBERNETES_CONTEXT"
"""Environment variable with the context of every pod whose data name none. All pods of a StatefulSet are looked up when
the inventory is read, before there are any data."""

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

FIRST_CAUSES = {"PodScheduled": 0, "Initialized": 1}
"""Conditions of a pod that are the cause where others aren't met either."""

# What wrote less than it was to write has failed, whatever head thinks of it.
WRITE = 'head -c "$1" >"$2" && [ "$(wc -c <"$2")" -eq "$1" ]'


_away_too = False


def take_those_away(yes: bool = True) -> None:
    """From now on a pod that is away is a host as well: for ``install``, which makes it, and ``uninstall``.

    It isn't reached by that: commands and links to it fail, and say why it is away.
    """
    global _away_too
    _away_too = yes


class KubernetesData(ConnectorData, total=False):
    """Connector data."""

    kubernetes_namespace: str
    kubernetes_pod: str
    kubernetes_deployment: str
    kubernetes_context: str
    kubernetes_container: str
    kubernetes_config: str


class KubernetesConnector(BaseConnector):
    """The ``@kubernetes`` connector: a pod as a host.

    .. code:: python

        keydb = ["@kubernetes/cache/statefulset/keydb"]  # the hosts are called keydb-0, keydb-1, ...

    Those of a StatefulSet have their ``keydb_address``: their names of its headless Service.
    """

    handles_execution = True
    data_cls = KubernetesData
    data_meta = {  # noqa: RUF012 - pyinfra's own shape
        "kubernetes_namespace": DataMeta("The pod's namespace"),
        "kubernetes_pod": DataMeta("The pod's name"),
        "kubernetes_deployment": DataMeta("The Deployment that it is of, if it was named by that"),
        "kubernetes_context": DataMeta("Context of the kubeconfig, its current one without it"),
        "kubernetes_container": DataMeta("Container of the pod, its default one without it"),
        "kubernetes_config": DataMeta("Path of the kubeconfig, $KUBECONFIG without it"),
    }
    pod: Pod | None = None
    away = ""
    """Why there is no pod that runs, where one that is away is a host all the same."""
    labels: dict[str, str] = {}  # noqa: RUF012 - replaced, never changed
    seen: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed
    """The pod as the API server told of it last."""

    @override
    @staticmethod
    def make_names_data(name: str | None = None) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        namespace, _, rest = (name or "").partition("/")
        kind, _, whole = rest.rpartition("/")
        if not namespace or not whole or kind not in ("", "statefulset", "deployment"):
            told = "is no pod; allowed are @kubernetes/NAMESPACE/POD and @kubernetes/NAMESPACE/statefulset/NAME"
            raise InventoryError(f"{PREFIX}{name or ''}: {told}, or deployment/NAME")
        for pod, also in _named(namespace, kind, whole):
            yield pod, {"kubernetes_namespace": namespace, "kubernetes_pod": pod, **also}, ["@kubernetes"]

    @property
    def namespace(self) -> str:
        return str(self.data["kubernetes_namespace"])

    def cluster(self) -> Cluster:
        """
        :raises ClusterError: not-configured
        """
        context = self.data["kubernetes_context"] or os.environ.get(CONTEXT) or None
        return cluster_of(context, self.data["kubernetes_config"] or None)

    @override
    def connect(self) -> None:
        """Look whether the pod runs; nothing is held open."""
        try:
            self.look()
        except ConnectError as error:
            if not _away_too:
                raise
            self.away = str(error)

    def look(self) -> None:
        """Look once more, since a pod that is away may come.

        :raises ConnectError: if it doesn't run, with why
        """
        self.pod = None
        try:
            pod = Pod(self.cluster(), self.namespace, str(self.data["kubernetes_pod"]))
        except ClusterError as error:
            raise ConnectError(error.detail) from None
        try:
            seen = pod.read(PATIENCE_SECONDS)
        except ClusterError as error:
            raise ConnectError(f"{error.detail}{_why_missing(pod) if error.code == 'missing' else ''}") from None
        container = _container(seen, self.data["kubernetes_container"])
        if told := _why_not(seen, container):
            raise ConnectError(f"pod {pod.name} in namespace {self.namespace} {told}")
        self.pod, self.away = Pod(pod.cluster, pod.namespace, pod.name, container), ""
        self.labels, self.seen = dict(seen["metadata"].get("labels") or {}), seen

    def open_link_socket(self, _address: str, port: int, timeout: float | None) -> PodSocket:
        """What ``connectors/link.py`` asks for. It is the pod's own, whatever name its peers use."""
        from keydb_runbooks.connectors.link import LinkError

        codes = {"not-permitted": "forwarding-forbidden", "not-accepted": "forwarding-forbidden"}
        try:
            return self._the_pod().connect(port, timeout)
        except ClusterError as error:
            raise LinkError(codes.get(error.code, "unreachable-host"), error.detail) from None

    @override
    def run_shell_command(
        self,
        command: StringCommand,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> tuple[bool, CommandOutput]:
        control = extract_control_arguments(arguments)
        made = make_unix_command_for_host(self.state, self.host, command, **arguments)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {made}", err=True)
        given = _as_input(control.get("_stdin"))
        raw = made.get_raw_value()
        words = ["sh", "-c", raw] if given is None else ["sh", "-c", WITH_INPUT, "sh", str(len(given)), raw]
        lines = _Lines(print_output, self.host.print_prefix)
        try:
            code = self._the_pod().run(words, given=given, timeout=control.get("_timeout"), seen=lines.take)
        except ClusterError as error:
            lines.tell(error.detail)
            return False, lines.output()
        allowed = control.get("_success_exit_codes") or [0]
        return code in allowed, lines.output()

    @override
    def put_file(
        self,
        filename_or_io: str | IOBase,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> bool:
        with get_file_io(cast("str | IO[Any]", filename_or_io)) as file:
            read = file.read()
        data = read.encode() if isinstance(read, str) else bytes(read)
        words = ["sh", "-c", WRITE, "sh", str(len(data)), remote_filename]
        self._move(words, data, f"{remote_filename} could not be written")
        if print_output:
            echo(f"{self.host.print_prefix}file uploaded to pod: {remote_filename}", err=True)
        return True

    @override
    def get_file(
        self,
        remote_filename: str,
        filename_or_io: str | IOBase,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Unpack[ConnectorArguments],
    ) -> bool:
        data = self._move(["cat", "--", remote_filename], None, f"{remote_filename} could not be read")
        with get_file_io(cast("str | IO[Any]", filename_or_io), "wb") as file:
            file.write(data)
        if print_output:
            echo(f"{self.host.print_prefix}file downloaded from pod: {remote_filename}", err=True)
        return True

    def _move(self, words: list[str], given: bytes | None, failed: str) -> bytes:
        """Run what moves a file; what it printed.

        :raises OSError: if it failed, which is what pyinfra expects
        """
        printed: dict[bool, list[bytes]] = {True: [], False: []}
        try:
            code = self._the_pod().run(words, given=given, seen=lambda at, text: printed[at == STDOUT].append(text))
        except ClusterError as error:
            raise OSError(f"{failed}: {error.detail}") from None
        if code != 0:
            raise OSError(f"{failed}: {b''.join(printed[False]).decode(errors='replace').strip()}")
        return b"".join(printed[True])

    def _the_pod(self) -> Pod:
        if self.pod is None:
            raise ClusterError("missing", self.away or f"pyinfra has no connection to {self.host.name}")
        return self.pod


class _Lines:
    """What a command prints, as pyinfra wants it: lines in the order in which they came."""

    def __init__(self, printing: bool, prefix: str) -> None:
        self._printing, self._prefix = printing, prefix
        self._begun = {"stdout": b"", "stderr": b""}
        self._lines: list[OutputLine] = []

    def take(self, channel: int, text: bytes) -> None:
        name = "stdout" if channel == STDOUT else "stderr"
        *whole, self._begun[name] = (self._begun[name] + text).split(b"\n")
        for line in whole:
            self._add(name, line)

    def tell(self, sentence: str) -> None:
        self._add("stderr", sentence.encode())

    def output(self) -> CommandOutput:
        for name, rest in self._begun.items():
            if rest:
                self._add(name, rest)
        self._begun = {"stdout": b"", "stderr": b""}
        return CommandOutput(self._lines)

    def _add(self, name: str, line: bytes) -> None:
        text = line.decode(errors="replace")
        self._lines.append(OutputLine(name, text))
        if self._printing:
            echo(f"{self._prefix}{text if name == 'stdout' else format_text(text, 'red')}", err=True)


def _named(namespace: str, kind: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Pods, and what is known of each beside its name."""
    if kind == "deployment":
        return [(pod, {"kubernetes_deployment": name}) for pod in _pods_of_deployment(namespace, name)]
    return _pods_of(namespace, name) if kind else [(name, {})]


def _pods_of(namespace: str, name: str) -> list[tuple[str, dict[str, Any]]]:
    """A StatefulSet's pods by their number and not by who is there just now, each with the name that its peers use.

    That name is one that stays, unless the inventory gives another one.

    :raises InventoryError: with why it can't be told
    """
    try:
        cluster = cluster_of(os.environ.get(CONTEXT) or None, None)
        seen = cluster.get(place(namespace, "statefulsets", name, group="/apis/apps/v1"), timeout=PATIENCE_SECONDS)
    except ClusterError as error:
        raise InventoryError(f"{PREFIX}{namespace}/statefulset/{name}: {error.detail}") from None
    count, first = seen["spec"].get("replicas", 1), seen["spec"].get("ordinals", {}).get("start", 0)
    if not count:
        told = f"somebody scaled it to 0 pods, so it names none: {_scale_up(namespace, name)}"
        raise InventoryError(f"{PREFIX}{namespace}/statefulset/{name}: {told}")
    peers = f"{seen['spec'].get('serviceName') or name}.{namespace}.svc.cluster.local"
    pods = [f"{name}-{number}" for number in range(first, first + count)]
    return [(pod, {"keydb_address": f"{pod}.{peers}"}) for pod in pods]


def _why_missing(pod: Pod) -> str:
    """Why there is no pod of a name, as far as its StatefulSet tells; "" if that doesn't."""
    name = pod.name.rpartition("-")[0]
    if not name:
        return ""
    try:
        seen = pod.cluster.get(
            place(pod.namespace, "statefulsets", name, group="/apis/apps/v1"), timeout=PATIENCE_SECONDS
        )
    except ClusterError:
        return ""
    if seen["spec"].get("replicas") != 0:
        return ""
    return f": somebody scaled statefulset/{name} to 0 pods: {_scale_up(pod.namespace, name)}"


def _scale_up(namespace: str, name: str) -> str:
    """What brings pods back that somebody took away."""
    return (
        f"{scaling(namespace, name, 'NUMBER')} brings them back (or install with force_conflicts=yes, if it made them)"
    )


@lru_cache(maxsize=32)
def _pods_of_deployment(namespace: str, name: str) -> list[str]:
    """The names of a Deployment's pods now; pyinfra makes every inventory twice, and is told the same both times.

    :raises InventoryError: with why it can't be told
    """
    try:
        return deployed(cluster_of(os.environ.get(CONTEXT) or None, None), namespace, name, PATIENCE_SECONDS)
    except ClusterError as error:
        raise InventoryError(f"{PREFIX}{namespace}/deployment/{name}: {error.detail}") from None


def deployed(cluster: Cluster, namespace: str, name: str, timeout: float) -> list[str]:
    """The names of the pods that a Deployment has, who are ending among them; none if there is no such Deployment.

    A pod whose containers have ended for good, as one that was evicted, leads nobody anywhere any more.

    :param timeout: seconds
    :raises ClusterError: as ``Cluster.get``
    """
    try:
        seen = cluster.get(place(namespace, "deployments", name, group="/apis/apps/v1"), timeout=timeout)
    except ClusterError as error:
        if error.code == "missing":
            return []
        raise
    selector = quote(_selector(seen["spec"]["selector"]))
    found = cluster.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}", timeout=timeout)["items"]
    living = [pod for pod in found if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    return sorted(str(pod["metadata"]["name"]) for pod in living)


def _selector(given: Mapping[str, Any]) -> str:
    """A selector of labels as it is written in a request."""
    parts = [f"{key}={value}" for key, value in (given.get("matchLabels") or {}).items()]
    for one in given.get("matchExpressions") or []:
        values = f"({','.join(one.get('values') or [])})"
        forms = {"In": f"{one['key']} in {values}", "NotIn": f"{one['key']} notin {values}", "Exists": one["key"]}
        parts.append(forms.get(one["operator"], f"!{one['key']}"))
    return ",".join(parts)


def _container(pod: dict[str, Any], wanted: str | None) -> str:
    """The name of a pod's container: the one that is wanted, or that the pod itself calls its default.

    :raises ConnectError: if it has none of that name
    """
    names = [container["name"] for container in pod["spec"]["containers"]]
    named = wanted or pod["metadata"].get("annotations", {}).get(DEFAULT_CONTAINER) or names[0]
    if named not in names:
        told = f"pod {pod['metadata']['name']} has no container {named!r}; it has {', '.join(names)}"
        raise ConnectError(told)
    return str(named)


def _why_not(pod: dict[str, Any], container: str) -> str | None:
    """Why no command can be run in a pod, in words; None if one can."""
    status = pod.get("status", {})
    states = {one["name"]: one.get("state", {}) for one in status.get("containerStatuses", [])}
    state = states.get(container, {})
    if "running" in state:
        return None
    for kind in ("waiting", "terminated"):
        if kind in state:
            return f"does not run: {container} is {kind} ({_detail(state[kind])})"
    unmet = [one for one in status.get("conditions", []) if one.get("status") == "False" and one.get("message")]
    # Kubernetes lists them in no order that it promises.
    waits = sorted(unmet, key=lambda one: FIRST_CAUSES.get(str(one.get("type")), len(FIRST_CAUSES)))
    why = f" ({waits[0]['message']})" if waits else ""
    return f"does not run: it is {status.get('phase', 'unknown')}{why}"


def _detail(state: dict[str, Any]) -> str:
    return ": ".join(str(state[key]) for key in ("reason", "message") if state.get(key)) or "no reason given"


def _as_input(stdin: Any) -> bytes | None:
    """Lines as pyinfra gives them, each with its end."""
    if not stdin:
        return None
    lines = stdin.readlines() if hasattr(stdin, "readlines") else stdin
    lines = lines if isinstance(lines, list | tuple) else [lines]
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).encode()
