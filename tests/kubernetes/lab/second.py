"""A second node of the cluster that runs: ``Second()`` adds it, ``end`` takes it away. Its cable can be pulled.

What it runs lives in a network namespace of its own, on the other end of a cable to the first node's bridge.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.kubernetes.lab import nodes, programs
from tests.kubernetes.lab.cluster import ask, pause_image
from tests.kubernetes.lab.nodes import FIRST, SECOND
from tests.kubernetes.lab.processes import Processes, environment

CABLE = "node2"
"""The first node's end of it, and the name of the second one's network."""


class Second:
    """It is ready once this is made. Whoever makes one ends it."""

    def __init__(self) -> None:
        self.built = programs.build()
        self.processes = Processes(SECOND.home, ("nsenter", f"--net=/run/netns/{CABLE}"))
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

    def end(self) -> None:
        """Take it away whole, also where it came only half: programs, pods, network, folders, and what the API says."""
        self.processes.end()
        ask(f"/api/v1/nodes/{SECOND.name}", "DELETE")
        for pod in sorted({int(word) for file in _tasks() for word in file.read_text().split()}):
            subprocess.run(["kill", "-9", str(pod)], check=False, capture_output=True)
        for words in (f"ip link del {CABLE}", f"ip netns del {CABLE}"):
            subprocess.run(words.split(), env=environment(), check=False, capture_output=True)
        for place in reversed(_mounts()):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
        shutil.rmtree(SECOND.home, ignore_errors=True)


def _mounts() -> list[str]:
    """Where its pods and its container runtime mounted something, in order."""
    places = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{SECOND.home}/")]


def _tasks() -> list[Path]:
    """The lists of the processes in its control groups."""
    found = [place / SECOND.control_group for place in nodes.hierarchies()]
    return [file for folder in found if folder.is_dir() for file in folder.rglob("cgroup.procs")]


def _connect() -> None:
    inside = f"ip -n {CABLE}"
    for words in (
        f"ip netns add {CABLE}",
        f"ip link add {CABLE} type veth peer name eth0 netns {CABLE}",
        f"ip link set {CABLE} master node0 up",
        f"{inside} link set lo up",
        f"{inside} addr add {SECOND.address}/24 dev eth0",
        f"{inside} link set eth0 up",
        f"{inside} route add default via {FIRST.address}",
        f"{inside} route add {FIRST.pods} via {FIRST.address}",
        f"ip route add {SECOND.pods} via {SECOND.address}",
        f"nsenter --net=/run/netns/{CABLE} sysctl -q -w net.ipv4.ip_forward=1",
    ):
        _do(words)


def _do(words: str) -> None:
    subprocess.run(words.split(), check=True, env=environment())
