"""What reaches into a pod, without a cluster: the streams' messages, names of hosts, and what an inventory may say."""

from __future__ import annotations

import json
import struct

import pytest
import websocket
from pyinfra.api.exceptions import ConnectError, InventoryError

from keydb_runbooks.connectors import cluster as clusters
from keydb_runbooks.connectors import kubernetes, pods
from keydb_runbooks.connectors.cluster import ClusterError
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.connectors.pods import STDOUT, Pod, PodSocket

BINARY, CLOSE = websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CLOSE
PORT = struct.pack("<H", 6379)


KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: one, cluster: {server: https://127.0.0.1:1}}]
users: [{name: me, user: {token: "0"}}]
contexts: [{name: first, context: {cluster: one, user: me}}, {name: second, context: {cluster: one, user: me}}]
"""


@pytest.mark.parametrize(
    "current", ["", "current-context: ''\n", "current-context: gone\n", "current-context: first\n"]
)
def test_a_context_that_is_named_needs_no_current_one(tmp_path, current):
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG + current)
    assert clusters.Cluster("second", str(path)).told == f"context second of {path}"
    with pytest.raises(ClusterError, match="has no context 'third'; it has first, second"):
        clusters.Cluster("third", str(path))
    if "first" in current:
        assert clusters.Cluster(None, str(path)).context == "first"
        return
    with pytest.raises(ClusterError, match="is not usable"):
        clusters.Cluster(None, str(path))


class Stream:
    """A WebSocket that says what it was given, and then that it is over."""

    def __init__(self, *messages: bytes, broken: bool = False) -> None:
        self.messages, self.broken = list(messages), broken
        self.sent: list[bytes] = []

    def settimeout(self, seconds):
        pass

    def send_binary(self, data):
        self.sent.append(data)

    def recv_data(self, control_frame):
        if self.messages:
            return BINARY, self.messages.pop(0)
        if self.broken:
            raise websocket.WebSocketTimeoutException("timed out")
        return CLOSE, b""

    def close(self, timeout):
        pass


class Cluster:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.asked = stream, []

    def open_stream(self, path, query, timeout):
        self.asked.append((path, query))
        return self.stream


def status(**fields) -> bytes:
    return b"\x03" + json.dumps(fields).encode()


def run(*messages: bytes, given: bytes | None = None, broken: bool = False):
    stream, seen = Stream(*messages, broken=broken), []
    pod = Pod(Cluster(stream), "cache", "keydb-0", "server")
    code = pod.run(["sh"], given=given, timeout=0.1, seen=lambda at, text: seen.append((at, text)))
    return code, seen, stream.sent


def test_an_exit_code_comes_with_the_last_message():
    failed = status(status="Failure", details={"causes": [{"reason": "ExitCode", "message": "7"}]})
    assert run(b"\x01one", b"\x02two", failed) == (7, [(1, b"one"), (2, b"two")], [])
    assert run(status(status="Success"))[0] == 0


def test_what_could_not_be_begun_is_told_in_the_runtimes_words():
    with pytest.raises(ClusterError, match="no command can be run in pod keydb-0: no sh here"):
        run(status(status="Failure", message="no sh here"))


def test_a_stream_that_broke_says_that_nothing_is_known():
    with pytest.raises(ClusterError, match="whether it ran is unknown"):
        run(b"\x01one")


def test_a_command_that_takes_too_long_is_a_timeout():
    with pytest.raises(TimeoutError):
        run(broken=True)


def test_input_is_sent_in_pieces_and_whole():
    data = bytes(range(256)) * 300
    sent = run(status(status="Success"), given=data)[2]
    assert len(sent) > 1 and b"".join(piece[1:] for piece in sent) == data
    assert {piece[0] for piece in sent} == {0}


def test_a_port_is_a_socket_once_both_channels_have_greeted():
    socket = PodSocket(Stream(b"\0" + PORT, b"\1" + PORT, b"\0+PON", b"\0G\r\n"), "keydb-0", 6379)
    assert socket.recv(3) == b"+PO" and socket.recv(99) == b"N" and socket.recv(99) == b"G\r\n"
    assert socket.recv(99) == b"", "the other side closed it"


def test_a_port_on_which_nobody_listens_is_refused_as_anywhere():
    told = b"\1error forwarding port 6379: dial tcp4 127.0.0.1:6379: connect: connection refused"
    socket = PodSocket(Stream(b"\0" + PORT, b"\1" + PORT, told), "keydb-0", 6379)
    with pytest.raises(ConnectionRefusedError, match="refused"):
        socket.recv(1)


def test_silence_is_a_timeout():
    with pytest.raises(TimeoutError):
        PodSocket(Stream(broken=True), "keydb-0", 6379).recv(1)


@pytest.mark.parametrize("name", [None, "", "cache", "cache/", "/keydb-0", "cache/daemonset/keydb", "a/b/c/d"])
def test_a_name_that_is_no_pod_is_told_with_what_is_allowed(name):
    with pytest.raises(InventoryError, match="allowed are @kubernetes/NAMESPACE/POD"):
        list(KubernetesConnector.make_names_data(name))


def test_a_pod_is_a_host_of_its_own_name():
    made = list(KubernetesConnector.make_names_data("cache/keydb-0"))
    assert made == [("keydb-0", {"kubernetes_namespace": "cache", "kubernetes_pod": "keydb-0"}, ["@kubernetes"])]


def pod(status: dict | None = None, **annotations: str) -> dict:
    containers = [{"name": "metrics"}, {"name": "server"}]
    meta = {"name": "keydb-0", "annotations": {key.replace("_", "/", 1): value for key, value in annotations.items()}}
    return {"metadata": meta, "spec": {"containers": containers}, "status": status or {}}


def test_a_container_is_the_one_that_is_named_or_the_pods_default_or_the_first():
    default = pod(**{kubernetes.DEFAULT_CONTAINER: "server"})
    assert kubernetes._container(pod(), "server") == "server"
    assert kubernetes._container(default, None) == "server"
    assert kubernetes._container(pod(), None) == "metrics"
    with pytest.raises(ConnectError, match="has no container 'sever'; it has metrics, server"):
        kubernetes._container(pod(), "sever")


@pytest.mark.parametrize("status, told", [
    ({"containerStatuses": [{"name": "server", "state": {"running": {}}}]}, None),
    ({"containerStatuses": [{"name": "server", "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]}, "does not run: server is waiting (ErrImagePull: no)"),
    ({"containerStatuses": [{"name": "server", "state": {"terminated": {}}}]}, "does not run: server is terminated (no reason given)"),
    ({"phase": "Pending", "conditions": [{"status": "False", "message": "0/1 nodes"}]}, "does not run: it is Pending (0/1 nodes)"),
    ({"phase": "Pending", "conditions": [{"type": "Ready", "status": "False", "message": "not ready"}, {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}, "does not run: it is Pending (0/1 nodes)"),
    ({}, "does not run: it is unknown"),
])  # fmt: skip
def test_why_a_pod_does_not_run_is_told(status, told):
    assert kubernetes._why_not(pod(status), "server") == told


def test_lines_come_in_the_order_in_which_they_were_printed():
    lines = kubernetes._Lines(printing=False, prefix="")
    for channel, text in ((STDOUT, b"one\ntw"), (pods.STDERR, b"bad\n"), (STDOUT, b"o\nend")):
        lines.take(channel, text)
    assert [(line.buffer_name, line.line) for line in lines.output()] == [
        ("stdout", "one"),
        ("stderr", "bad"),
        ("stdout", "two"),
        ("stdout", "end"),
    ]


class Sets:
    """An API server that knows a StatefulSet of so many pods, and none of the pods."""

    told = "context c"

    def __init__(self, replicas: int | None) -> None:
        self.replicas = replicas

    def get(self, path: str, *, timeout: float) -> dict:
        if path == "/apis/apps/v1/namespaces/shop/statefulsets/cache" and self.replicas is not None:
            return {"spec": {"replicas": self.replicas}}
        if path == "/api/v1/namespaces/shop":
            return {}
        raise ClusterError("missing", "there is none")


UP = (
    "kubectl -n shop scale statefulset cache --replicas=NUMBER brings them back "
    "(or install with force_conflicts=yes, if it made them)"
)


@pytest.mark.parametrize(
    "replicas, why", [(0, f": somebody scaled statefulset/cache to 0 pods: {UP}"), (3, ""), (None, "")]
)
def test_pods_that_somebody_took_away_are_told_with_the_way_back(replicas, why):
    connector = KubernetesConnector.__new__(KubernetesConnector)
    connector.data = {"kubernetes_namespace": "shop", "kubernetes_pod": "cache-1"}
    connector.cluster = lambda: Sets(replicas)
    with pytest.raises(ConnectError) as error:
        connector.look()
    assert str(error.value) == f"there is no pod cache-1 in namespace shop of context c{why}"


def test_a_set_without_pods_names_none_and_says_how_they_come_back(monkeypatch):
    monkeypatch.setattr(kubernetes, "cluster_of", lambda *_: Sets(0))
    with pytest.raises(InventoryError) as error:
        list(KubernetesConnector.make_names_data("shop/statefulset/cache"))
    told = f"somebody scaled it to 0 pods, so it names none: {UP}"
    assert str(error.value) == f"@kubernetes/shop/statefulset/cache: {told}"
