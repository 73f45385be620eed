"""A small signed apt repository on machines, with packages packed from the server's program that is here.

They behave as a distribution's and as KeyDB's own: the server's brings a unit, a configuration file and a user, and starts
what it brought; the program is in another one, which it needs in its very version. The units are of the two kinds that
servers' packages have: one waits for a pid file (KeyDB's and Debian's older ones), one for a message. What Debian itself
packed, as HAProxy, is packed again as it was.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path, PurePosixPath

from tests.fleet.machine import Machine

PLACE = "/srv/repository"
STARTED = "/run/by-the-package/started"
"""Is there as soon as the unit started as the package has it, with nothing of ours."""

CONTROL = """Package: {package}
Version: {version}
Architecture: amd64
Depends: adduser, {tools} (= {version})
Maintainer: The tests <tests@example.invalid>
Description: a server, packed for a test
"""

CONTROL_OF_TOOLS = """Package: {tools}
Version: {version}
Architecture: amd64
Maintainer: The tests <tests@example.invalid>
Description: a server's program, packed for a test
"""

UNIT = f"""[Unit]
Description=as a package has it
After=network.target
[Service]
{{kind}}
ExecStart=/bin/sh -c 'touch {STARTED}; exec /usr/bin/{{package}} /etc/{{engine}}/{{engine}}.conf {{further}}'
ExecStop=/bin/kill -s TERM $MAINPID
TimeoutStopSec=0
Restart=always
User={{engine}}
Group={{engine}}
RuntimeDirectory={{engine}}
RuntimeDirectoryMode=2755
UMask=007
PrivateTmp=yes
LimitNOFILE=65535
ReadOnlyDirectories=/
ReadWriteDirectories=-/var/lib/{{engine}} -/var/log/{{engine}} -/run/{{engine}} -{PurePosixPath(STARTED).parent}
NoNewPrivileges=true
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_SYS_RESOURCE
[Install]
WantedBy=multi-user.target
Alias={{engine}}.service
"""

FORKING = {"kind": "Type=forking\nPIDFile=/run/{engine}/{package}.pid", "further": ""}
NOTIFY = {"kind": "Type=notify", "further": "--supervised systemd --daemonize no"}
"""Kinds of units: how systemd learns that the server is ready."""

CONFIG = """# as a package has it
bind 127.0.0.1
port 6379
daemonize yes
supervised no
pidfile /run/{engine}/{package}.pid
logfile /var/log/{engine}/{package}.log
dir /var/lib/{engine}
timeout 0
"""

# What debhelper writes for a unit.
POSTINST = """#!/bin/sh
set -e
id -u {engine} >/dev/null 2>&1 || useradd --system --user-group --no-create-home {engine}
install -d -o {engine} -g {engine} /var/lib/{engine} /var/log/{engine}
install -d -m 1777 {place}
deb-systemd-helper enable {package}.service >/dev/null || true
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload || true
    if [ -n "$2" ]; then action=restart; else action=start; fi
    deb-systemd-invoke $action {package}.service >/dev/null || true
fi
"""


class Repository:
    """Packages by their versions, and the key that signs for them."""

    def __init__(self, home: Path, engine: str) -> None:
        self.engine, self.package, self.tools = engine, f"{engine}-server", f"{engine}-tools"
        self.files, self._gpg = home / "files", home / "gpg"
        self.key = home / "key.asc"
        self.files.mkdir()
        self._gpg.mkdir(mode=0o700)
        self._run_gpg("--passphrase", "", "--quick-gen-key", "tests", "default", "default", "never")
        self.key.write_bytes(self._run_gpg("--armor", "--export"))

    @property
    def source(self) -> str:
        """As the inventory names it."""
        return f"file:{PLACE} ./"

    def add(self, version: str, program: str | Path, unit: Mapping[str, str] = FORKING) -> None:
        """Pack a program as this version of the packages.

        :param unit: which kind of unit they bring
        """
        names = {"package": self.package, "tools": self.tools, "engine": self.engine, "version": version}
        names |= {key: text.format(**names) for key, text in unit.items()}
        names |= {"place": str(PurePosixPath(STARTED).parent)}
        tree = self.files.with_name(f"tools-{version}")
        for folder in ("DEBIAN", "usr/bin"):
            (tree / folder).mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(CONTROL_OF_TOOLS.format(**names))
        shutil.copy2(program, tree / "usr" / "bin" / self.package)
        self._pack(tree, self.tools, version)
        tree = self.files.with_name(f"server-{version}")
        texts = {
            "DEBIAN/control": CONTROL,
            "DEBIAN/postinst": POSTINST,
            "DEBIAN/conffiles": "/etc/{engine}/{engine}.conf\n",
            "lib/systemd/system/{package}.service": UNIT,
            "etc/{engine}/{engine}.conf": CONFIG,
        }
        for name, text in texts.items():
            path = tree / name.format(**names)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(**names))
        (tree / "DEBIAN" / "postinst").chmod(0o755)
        self._pack(tree, self.package, version)

    def repack(self, package: str, base: Path) -> None:
        """Pack a package again that is installed in a machine's tree, with its own scripts and its files as they are there."""
        known = base / "var" / "lib" / "dpkg"
        (stanza,) = re.findall(rf"^Package: {package}\n(?:.+\n)+", (known / "status").read_text(), re.MULTILINE)
        tree = self.files.with_name(package)
        (tree / "DEBIAN").mkdir(parents=True)
        # Two fields are dpkg's own record of what it installed.
        control = re.sub(r"^(?:Status|Conffiles):.*\n(?: .*\n)*", "", stanza, flags=re.MULTILINE)
        (tree / "DEBIAN" / "control").write_text(control)
        for name in ("conffiles", "preinst", "postinst", "prerm", "postrm"):
            if (script := known / "info" / f"{package}.{name}").exists():
                shutil.copy2(script, tree / "DEBIAN" / name)
        for line in (known / "info" / f"{package}.list").read_text().splitlines():
            source, target = base / line.lstrip("/"), tree / line.lstrip("/")
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                shutil.copy2(source, target, follow_symlinks=False)
        self._pack(tree, package, "repacked")

    def put_on(self, machine: Machine) -> None:
        """Sign what is there and put it on a machine, in the place of what was there before."""
        packages = "\n".join(self._entry(path) for path in sorted(self.files.glob("*.deb"))).encode()
        (self.files / "Packages").write_bytes(packages)
        checksum = f" {hashlib.sha256(packages).hexdigest()} {len(packages)} Packages"
        (self.files / "Release").write_text(f"Date: {formatdate(usegmt=True)}\nSHA256:\n{checksum}\n")
        (self.files / "InRelease").unlink(missing_ok=True)
        self._run_gpg("--clearsign", "--output", self.files / "InRelease", self.files / "Release")
        shutil.copytree(self.files, machine.root / PLACE.lstrip("/"), dirs_exist_ok=True)

    def _pack(self, tree: Path, package: str, version: str) -> None:
        _run(
            "dpkg-deb",
            "--root-owner-group",
            "-Zgzip",
            "-z1",
            "--build",
            tree,
            self.files / f"{package}_{version}_amd64.deb",
        )

    def _entry(self, path: Path) -> str:
        content = path.read_bytes()
        told = _run("dpkg-deb", "--field", path).decode()
        return f"{told}Filename: ./{path.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"

    def _run_gpg(self, *words: str | Path) -> bytes:
        return _run("gpg", "--homedir", self._gpg, "--batch", "--yes", *words)


def _run(*words: str | Path) -> bytes:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
