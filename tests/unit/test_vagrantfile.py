"""The Vagrantfile: one that Vagrant takes, with the machines of inventories/vagrant.py."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VAGRANT = shutil.which("vagrant")


@pytest.mark.skipif(VAGRANT is None, reason="no vagrant on PATH")
def test_vagrant_takes_it(tmp_path: Path) -> None:
    environment = {**os.environ, "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"), "VAGRANT_HOME": str(tmp_path / "home")}
    command = [VAGRANT, "validate", "--ignore-provider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_the_machines_of_the_inventory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path))
    inventory = runpy.run_path(str(ROOT / "inventories" / "vagrant.py"))
    hosts = {name: data["ssh_hostname"] for name, data in (*inventory["keydb"], *inventory["haproxy"])}
    text = (ROOT / "Vagrantfile").read_text()
    ranges = re.findall(r'\(1\.\.(\d)\)\.map \{ \|n\| \["(\w+)-#\{n\}", "([\d.]+)#\{(\d+) \+ n\}"\] \}', text)
    made = {f"{name}-{n}": f"{net}{int(base) + n}" for last, name, net, base in ranges for n in range(1, int(last) + 1)}
    assert made == hosts
