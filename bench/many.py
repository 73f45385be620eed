"""Many groups: how long status, drift and an install without changes take for 48 nodes, beside three.

    sudo make fleet RUN='.venv/bin/python -m bench.many'        ROUNDS=3 MANY=16

Sixteen groups of three servers on the three machines of the fleet, each with a name of its own, so with an SSH
connection of its own. pyinfra connects to all of them and looks at all of them; a group of three alone is what that is
compared with. Machines, servers and pyinfra share the cores, so what pyinfra itself took of them is told as well: that
much is the operator's whatever the machines are.
"""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[1]
MACHINES = {1: "192.168.56.11", 2: "192.168.56.12", 3: "192.168.56.13"}
ROLES = ("application", "replication", "operator", "monitoring", "check")
VERBS = ("status", "drift", "install")
# sshd refuses some of more than ten who log in at once; one machine has sixteen names here.
MANY_AT_ONCE = "echo MaxStartups 200 >/etc/ssh/sshd_config.d/many.conf && systemctl reload ssh"

INVENTORY = """import json
from pathlib import Path
from keydb_runbooks.connectors.secrets import Secret
words = json.loads((Path(__file__).parent / "passwords.json").read_text())
users = {{role: {{"name": role, "password": Secret(word)}} for role, word in words.items()}}
keydb = [(name, {{**data, "keydb_users": users}}) for name, data in {nodes!r}.items()]
"""


class Took(NamedTuple):
    """What a run of pyinfra took, in seconds; ``processor`` is what it computed itself."""

    time: float
    processor: float


def main() -> int:
    rounds, groups = (int(os.environ.get(name, default)) for name, default in (("ROUNDS", "3"), ("MANY", "16")))
    keys = Path(os.environ["VAGRANT_DOTFILE_PATH"])
    home = keys.parent / "many"
    home.mkdir()
    (home / "passwords.json").write_text(json.dumps({role: secrets.token_urlsafe(24) for role in ROLES}))
    few, many = (write_inventory(home, keys, count) for count in (1, groups))
    run("inventories/vagrant.py", "exec", "--", MANY_AT_ONCE)
    print(f"installing {3 * groups} servers in {groups} groups", flush=True)
    first = run(many, "deploys/install.py", "-y").time
    seen: dict[str, dict[str, list[Took]]] = {verb: {"3": [], str(3 * groups): []} for verb in VERBS}
    for _ in range(rounds):
        for verb in VERBS:
            for inventory, count in ((few, "3"), (many, str(3 * groups))):
                given = ("-y",) if verb == "install" else ()
                seen[verb][count].append(run(inventory, f"deploys/{verb}.py", *given, unchanged=verb == "install"))
    place = REPOSITORY / "build" / "bench" / "many.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    told = {"first_install": first, "load": load, "cores": os.cpu_count()}
    for number, what in enumerate(Took._fields):
        told[what] = {
            verb: {count: [one[number] for one in runs] for count, runs in counts.items()}
            for verb, counts in seen.items()
        }
    place.write_text(json.dumps(told))
    show(seen, first, load)
    return 0


def write_inventory(home: Path, keys: Path, groups: int) -> str:
    """An inventory of so many groups of three; its path."""
    nodes = {}
    for group in range(1, groups + 1):
        for number, address in MACHINES.items():
            name = f"g{group:02}"
            key = next(keys.glob(f"machines/keydb-{number}/*/private_key"))
            nodes[f"{name}-keydb-{number}"] = {
                "ssh_hostname": address,
                "ssh_user": "vagrant",
                "ssh_key": str(key),
                "ssh_known_hosts_file": str(keys / "known_hosts"),
                "_sudo": True,
                "keydb_group": name,
                "keydb_engine": os.environ.get("KEYDB_VAGRANT_ENGINE", "keydb"),
                "keydb_address": address,
                "keydb_port": 7100 + group,
                "keydb_unit": f"{name}.service",
                "keydb_config_directory": f"/etc/many/{name}",
                "keydb_data_directory": f"/srv/many/{name}/data",
                "keydb_log_file": f"/srv/many/{name}/log/server.log",
                "keydb_history_file": f"/srv/many/{name}/log/history.jsonl",
                "keydb_pid_file": f"/run/{name}/server.pid",
                "keydb_maxmemory": "64mb",
                "keydb_server_threads": 1,
                "keydb_kernel_settings": False,
                # All servers, boot guards and sshds share the cores with who looks at them.
                "keydb_connect_timeout": 30,
                "keydb_command_timeout": 30,
            }
    path = home / f"{groups}.py"
    path.write_text(INVENTORY.format(nodes=nodes))
    return str(path)


def run(inventory: str, *words: str, unchanged: bool = False) -> Took:
    """What a run of pyinfra took.

    :param unchanged: whether it is an error if something was changed
    """
    began, used = time.monotonic(), processor()
    done = subprocess.run(  # noqa: S603 - by whoever runs the bench
        [Path(sys.executable).with_name("pyinfra"), inventory, *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYINFRA_PROGRESS": "off", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    took = Took(time.monotonic() - began, processor() - used)
    text = done.stdout + done.stderr
    total = re.search(r"Grand total\s+(\S+)\s+(\S+)\s+(\S+)", text)
    if done.returncode or (unchanged and (total is None or total[2] != "-")):
        sys.exit(f"{' '.join(words)} with {inventory} went otherwise than meant:\n{text}")
    return took


def processor() -> float:
    """Seconds of one core that processes took which this one began and which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(seen: dict[str, dict[str, list[Took]]], first: float, load: float) -> None:
    few, many = list(seen["status"])
    table = Table("run", f"{few} nodes, s", f"{many} nodes, s", "ratio", "pyinfra's own", "", "ratio")
    for verb, runs in seen.items():
        row = [verb]
        for number, _ in enumerate(Took._fields):
            one, other = (median(took[number] for took in runs[count]) for count in (few, many))
            row += [f"{one:.2f}", f"{other:.2f}", f"{other / one:.1f}"]
        table.add_row(*row)
    console = Console()
    console.print(f"first install of {many} nodes: {first:.1f} s; {os.cpu_count()} cores, load {load:.1f} at the end")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
