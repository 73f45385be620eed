"""A second node of the cluster that runs: ``Second()`` adds it, ``end`` takes it away. Its cable can be pulled.

What it runs lives in a network namespace of its own, on the other end of a cable to the first node's bridge.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.kubernetes.lab import nodes, programs
from tests.kubernetes.lab.cluster import ask, pause_image, tell
from tests.kubernetes.lab.nodes import FIRST, SECOND
from tests.kubernetes.lab.processes import Processes, environment

CABLE = "node2"
"""The first node's end of it."""

NETWORK = "/run/node2.network"
"""The second one's. `ip netns add` would bind /run/netns a second time, and then no pod that is there could end: the
file of its network stays in use."""


class Second:
    """It is ready once this is made. Whoever makes one ends it."""

    def __init__(self) -> None:
        self.built = programs.build()
        self.processes = Processes(SECOND.home, ("nsenter", f"--net={NETWORK}"))
        try:
            _connect()
            nodes.prepare(SECOND)
            self._start()
        except BaseException:
            self.end()
            raise

    def _start(self) -> None:
        from tests.kubernetes.images import all_images

        nodes.start_containerd(SECOND, self.processes)
        nodes.start(SECOND, self.processes, self.built)
        with tempfile.TemporaryDirectory(dir="/run") as made:
            for archive in [pause_image(self.built, Path(made) / "pause.tar"), *all_images(Path(made))]:
                self.processes.load(archive, SECOND.socket)
        self.processes.wait(self.is_ready, "the second node is ready", 60)
        nodes.start_policies(SECOND, self.processes, self.built)

    def is_ready(self) -> bool:
        return nodes.is_ready(ask(f"/api/v1/nodes/{SECOND.name}"))

    def cut(self) -> None:
        """Nothing comes to it or from it any more; what runs there goes on."""
        _do(f"ip link set {CABLE} down")

    def mend(self) -> None:
        _do(f"ip link set {CABLE} up")
        # It went with the link.
        _do(f"ip route replace {SECOND.pods} via {SECOND.address}")

    def stop_kubelet(self) -> None:
        """The pods go on, and nobody answers for them."""
        self.processes.end("kubelet")

    def start_kubelet(self) -> None:
        nodes.start_kubelet(SECOND, self.processes, self.built)

    def is_there_again(self) -> None:
        """A kubelet tells the API server of its node when it starts, and of one that was deleted since no more."""
        if not ask(f"/api/v1/nodes/{SECOND.name}"):
            self.stop_kubelet()
            self.start_kubelet()
            self.processes.wait(self.is_ready, "the second node is ready again", 60)

    def runs_a_server(self) -> bool:
        """Whether a server's process is in one of its pods, whatever the API server thinks of it."""
        return any(b"-server" in _read(Path(f"/proc/{process}/cmdline")).split(b"\0")[0] for process in _pods())

    def end(self) -> None:
        """End its programs, its pods and its network, and let nobody be sent there any more."""
        self.processes.end()
        tell("DELETE", f"/api/v1/nodes/{SECOND.name}")
        for process in sorted(_pods() | _shims()):
            subprocess.run(["kill", "-9", str(process)], check=False, capture_output=True)
        _disconnect()
        _take_away()


def _pods() -> set[int]:
    """The processes in its control groups."""
    found = [place / SECOND.control_group for place in nodes.hierarchies()]
    lists = [file for folder in found if folder.is_dir() for file in folder.rglob("cgroup.procs")]
    return {int(word) for file in lists for word in _read(file).split()}


def _shims() -> set[int]:
    """What containerd leaves running beside each pod, so that pods outlive it."""
    ours = f"\0{SECOND.socket}\0".encode()
    return {int(file.parent.name) for file in Path("/proc").glob("[0-9]*/cmdline") if ours in _read(file)}


def _read(file: Path) -> bytes:
    """Of a process, or a pod, that may have ended by now."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _take_away() -> None:
    """Unmount what is mounted below its folder, the last first, and remove it: the next one begins anew."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounted if place.startswith(f"{SECOND.home}/")]):
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True, env=environment())
    shutil.rmtree(SECOND.home, ignore_errors=True)


def _connect() -> None:
    inside = f"nsenter --net={NETWORK}"
    Path(NETWORK).touch()
    for words in (
        f"unshare --net={NETWORK} true",
        f"ip link add {CABLE} type veth peer name eth0 netns {NETWORK}",
        f"ip link set {CABLE} master node0 up",
        f"{inside} ip link set lo up",
        f"{inside} ip addr add {SECOND.address}/24 dev eth0",
        f"{inside} ip link set eth0 up",
        f"{inside} ip route add default via {FIRST.address}",
        f"{inside} ip route add {FIRST.pods} via {FIRST.address}",
        f"ip route add {SECOND.pods} via {SECOND.address}",
        f"{inside} sysctl -q -w net.ipv4.ip_forward=1",
    ):
        _do(words)


def _disconnect() -> None:
    """Also what was made only in part."""
    for words in (f"ip link del {CABLE}", f"umount {NETWORK}", f"rm -f {NETWORK}"):
        subprocess.run(words.split(), check=False, capture_output=True, env=environment())


def _do(words: str) -> None:
    subprocess.run(words.split(), check=True, env=environment())
