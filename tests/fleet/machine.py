"""One machine of the fleet: a Debian that boots systemd, with a power switch, a cable and a disk of its own."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.fleet import base, cgroups, network

BOOT_SECONDS = 60
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
HOSTS = "127.0.0.1 localhost\n127.0.1.1 {name}\n"


class Machine:
    """A machine that is off until ``power_on``.

    :param home: where its layer, its data disk and its console's log are
    :param layers: what lies between its own layer and the base image
    :param disk: where a file system of its own is mounted, and how many bytes it has; None is no such disk
    """

    def __init__(
        self, fleet: str, name: str, address: str, home: Path, layers: list[Path], disk: tuple[str, int] | None
    ) -> None:
        self.fleet, self.name, self.address, self.home = fleet, name, address, home
        self.root, self.upper = home / "root", home / "upper"
        self.console = home / "console.log"
        self.disk = None if disk is None else home / "disk"
        self.mounted_at = None if disk is None else disk[0]
        self._nspawn: subprocess.Popen[bytes] | None = None
        for path in (self.root, self.upper, home / "work"):
            path.mkdir(parents=True)
        if self.disk is not None and disk is not None:
            # On this side, so that its data outlive the machine's power.
            self.disk.mkdir()
            _run("mount", "-t", "tmpfs", "-o", f"size={disk[1]},mode=755", "tmpfs", self.disk)
        lower = ":".join(map(str, [*layers, base.BASE]))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={home / 'work'}"
        _run("mount", "-t", "overlay", "-o", options, "overlay", self.root)
        self._write("etc/hostname", f"{name}\n")
        self._write("etc/hosts", HOSTS.format(name=name))
        self._write("etc/machine-id", f"{secrets.token_hex(16)}\n")
        self.host_key = self._make_host_key()

    def allow(self, public_key: str) -> None:
        """Let whoever has the private key log in as the ordinary user."""
        path = f"home/{base.USER}/.ssh/authorized_keys"
        self._write(path, public_key)
        owner = (self.root / "home" / base.USER).stat()
        os.chown(self.root / path, owner.st_uid, owner.st_gid)

    # Power

    def power_on(self) -> None:
        """Switch it on; it boots, and ``wait`` sees when that is done."""
        assert not self.is_on, f"{self.name} is on"
        if self._nspawn is not None:
            # It went off by itself; what is left of it goes as well.
            self.power_off()
        network.plug_in(self.name, self.address)
        self._start()

    def power_off(self) -> None:
        """Pull its plug: no process ends in order, no file is closed, no peer hears anything.

        What a process wrote is on the disk even if nobody asked for it to be synced: that is this machine's memory.
        """
        network.cut(self.name)
        self._kill()
        network.plug_out(self.name)

    def reboot(self) -> None:
        """Let it end in order and boot again."""
        assert self._nspawn is not None
        self.shell("systemctl --no-block reboot")
        # With a unit of somebody else's around it, as here, nspawn leaves the second start to who started it.
        code = self._nspawn.wait(BOOT_SECONDS)
        assert code == 133, f"{self.name} ended with {code} instead of rebooting; see {self.console}"
        self._nspawn = None
        self._start()

    @property
    def is_on(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def wait(self) -> None:
        """Wait until its sshd answers."""
        eventually(self._greets, f"{self.name} answers at port 22; its console: {self.console}", BOOT_SECONDS)

    # Faults

    def freeze(self) -> None:
        """Stop everything that runs on it at once; its kernel answers nobody either, as of a machine that is paused."""
        network.cut(self.name)
        cgroups.freeze(self.fleet, self.name, True)

    def hang(self) -> None:
        """The same, but its kernel still answers: connections are accepted, and nobody behind them says a word."""
        cgroups.freeze(self.fleet, self.name, True)

    def thaw(self) -> None:
        cgroups.freeze(self.fleet, self.name, False)
        network.heal(self.name)

    def cut(self) -> None:
        """Let nothing through its cable: no connection is refused, none is closed."""
        network.cut(self.name)

    def heal(self) -> None:
        network.heal(self.name)

    def refuse_port(self, port: int) -> None:
        network.refuse(self.name, port)

    def accept_port(self) -> None:
        network.accept(self.name)

    def fill_disk(self) -> None:
        """Leave no byte free on its data disk."""
        assert self.disk is not None, f"{self.name} has no disk of its own"
        # Nothing is kept back to be written when the file is closed.
        for size in (1 << 20, 1 << 12):
            with (self.disk / ".filler").open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(size))

    def free_disk(self) -> None:
        assert self.disk is not None, f"{self.name} has no disk of its own"
        (self.disk / ".filler").unlink()

    def shift_clock(self, unit: str, seconds: int) -> None:
        """Let a unit's processes see a clock that is wrong by so much, from their next start on; 0 is right again.

        The machine's own clock is this one's and can't be set, so a library stands between (apt: libfaketime). What
        counts seconds and not moments, as time-outs do, is left alone.
        """
        folder = f"/run/systemd/system/{unit}.d"
        given = f"LD_PRELOAD={FAKETIME} FAKETIME={seconds:+d} FAKETIME_DONT_FAKE_MONOTONIC=1"
        lines = f"[Service]\\nEnvironment={given}\\n"
        write = f"mkdir -p {folder} && printf '{lines}' >{folder}/clock.conf" if seconds else f"rm -rf {folder}"
        self.shell(f"{write}; systemctl daemon-reload")

    # Looking at it from outside

    def shell(self, script: str, *, check: bool = True, given: str = "") -> str:
        """What a script prints that root runs on the machine, on no way that the project uses.

        :param given: what it gets on its standard input; a password is no argument here either
        """
        words = ["nsenter", "--target", str(self.leader()), "--all", "--wd", "/bin/sh", "-c", script]
        clean = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(words, env=clean, input=given, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{self.name}: {script!r} failed: {done.stderr or done.stdout}"
        return done.stdout.strip()

    def exposure(self, unit: str) -> float:
        """How exposed systemd calls a unit, from 0 (not at all) to 10."""
        told = self.shell(f"systemd-analyze security --no-pager {unit}")
        match = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert match, told
        return float(match[1])

    def leader(self) -> int:
        """The process that is its systemd, seen from here."""
        assert self.is_on, f"{self.name} is off"
        assert self._nspawn is not None
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0])

    def remove(self) -> None:
        """End it at once and take its mounts away."""
        if self._nspawn is not None:
            self.power_off()
        for place in (self.root, self.disk):
            if place is not None:
                _run("umount", place)
        shutil.rmtree(self.home)

    def _start(self) -> None:
        disk = [] if self.disk is None else [f"--bind={self.disk}:{self.mounted_at}"]
        words = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"]
        words += [
            "--resolv-conf=off",
            "--timezone=off",
            "--console=pipe",
            "--capability=CAP_NET_ADMIN",
            f"--machine={self.name}",
            *disk,
        ]
        words += [f"--directory={self.root}", f"--network-namespace-path=/run/netns/{self.name}", "--boot"]
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=lambda: cgroups.join(self.fleet, self.name),
            )

    def _kill(self) -> None:
        assert self._nspawn is not None
        if self.is_on:
            os.kill(self.leader(), signal.SIGKILL)
            # A frozen one has to be let go to die.
            cgroups.freeze(self.fleet, self.name, False)
        self._nspawn.wait(10)
        self._nspawn = None

    def _greets(self) -> bool:
        assert self.is_on, f"{self.name} went off while it booted; its console ended with: {self._last_words()}"
        with suppress(OSError), socket.create_connection((self.address, 22), 1) as opened:
            return opened.recv(4) == b"SSH-"
        return False

    def _last_words(self) -> str:
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-10:])

    def _make_host_key(self) -> str:
        key = self.root / "etc" / "ssh" / "ssh_host_ed25519_key"
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key)
        return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])

    def _write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)


def eventually(look: Callable[[], bool], expectation: str, patience_seconds: float = 10) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience_seconds
    while not look():
        assert time.monotonic() < deadline, f"not within {patience_seconds} s: {expectation}"
        time.sleep(0.05)


def _run(*words: str | Path) -> None:
    subprocess.run([*map(str, words)], check=True)
