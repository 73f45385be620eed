"""A group as somebody may have made it by hand, beside the fleet's own: odd paths, units, users and names, and TLS.

Nothing of it is known to the project but what its inventory says.
"""

from __future__ import annotations

import shutil
import subprocess

from keydb_runbooks.connectors.certificates import kept_certificates
from tests.fleet.fleet import NODES, PROXIES, Fleet, Place
from tests.fleet.inventories import write_inventory, write_passwords
from tests.fleet.machine import Machine, eventually

PORT, WRITES, READS = 7001, 7380, 7381
HOME = "/srv/kv"
CONFIG = f"{HOME}/etc/sessions.conf"
UNIT = "kv.service"
OLD_PASSWORD = "old secret of ours"

SERVER = """# our sessions. Ask Bob before you touch this
bind {address} 127.0.0.1
{ports}
daemonize yes
pidfile {home}/run/kv.pid
logfile {home}/log/kv.log
dir {home}/data
dbfilename sessions.rdb
requirepass "{password}"
masterauth "{password}"
maxmemory 96mb
maxmemory-policy volatile-lru
save 900 1
hz 20
repl-backlog-size 4mb
{role}
"""

TLS = """port 0
tls-port {port}
tls-cert-file {home}/pki/server.crt
tls-key-file {home}/pki/server.key
tls-ca-cert-file {home}/pki/ca.crt
tls-auth-clients no
tls-replication yes"""

SERVER_UNIT = f"""[Unit]
Description=our sessions
[Service]
Type=forking
PIDFile={HOME}/run/kv.pid
User=kv
Group=store
ExecStart=/opt/kv/{{engine}}-server {CONFIG} --loglevel notice
Restart=always
LimitNOFILE=20000
[Install]
WantedBy=multi-user.target
"""

PROXY = """global
    stats socket /run/lb/admin.sock mode 600 level admin
    pidfile /run/lb/lb.pid
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    timeout check 1s
listen other-peoples
    bind {address}:7390
listen sessions-write
    bind {address}:{writes}
    option tcp-check
    tcp-check connect{ssl}
    tcp-check send-binary {check}
    tcp-check expect string role:master
    default-server inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
listen sessions-read
    bind {address}:{reads}
    option tcp-check
    tcp-check connect{ssl}
    tcp-check send-binary {check}
    tcp-check expect rstring role:slave[^$]*master_link_status:up
    default-server inter 200ms fall 2 rise 1
{servers}
"""

PROXY_UNIT = """[Unit]
Description=our load balancer
[Service]
Type=notify
RuntimeDirectory=lb
ExecStart=/usr/sbin/haproxy -Ws -f /srv/lb/lb.cfg -p /run/lb/lb.pid
[Install]
WantedBy=multi-user.target
"""


class HandMade:
    """The group, running, with data; ``fleet`` is the machines as its clients see them."""

    def __init__(self, fleet: Fleet) -> None:
        self.engine, self.home = fleet.engine, fleet.home / "handmade"
        self.home.mkdir()
        write_passwords(self.home, default=OLD_PASSWORD)
        self.ca = self._certificates(fleet) if has_tls(fleet.program) else None
        inventory = self.write_inventory({})
        self.fleet = fleet.at(Place(inventory, PORT, WRITES, self.ca, self.home / "passwords.json"))
        for node in self.fleet.nodes:
            self._make_server(node)
        for proxy in self.fleet.proxies:
            self._make_proxy(proxy)
        eventually(lambda: all(map(self.follows, ("keydb-2", "keydb-3"))), "both replicas follow", 20)
        for number in range(500):
            self.fleet.ask("keydb-1", "SET", f"session:{number}", number, role="default")

    def write_inventory(self, data: dict[str, object], *, admin: bool = True) -> str:
        """The inventory with further data of all nodes; None takes one out. Its path.

        :param admin: whether it tells who may make users
        """
        common: dict[str, object] = {"keydb_group": "sessions", "keydb_clients_only_through_proxies": True}
        common |= {} if self.ca is None else {"keydb_tls_ca": self.ca}
        node = {
            "keydb_adopted": True,
            "keydb_engine": self.engine,
            "keydb_server": f"/opt/kv/{self.engine}-server",
            "keydb_port": PORT,
            "keydb_config_directory": "/etc/kv-runbooks",
            "keydb_configuration_file": CONFIG,
            "keydb_data_directory": f"{HOME}/data",
            "keydb_log_file": f"{HOME}/log/kv.log",
            "keydb_pid_file": f"{HOME}/run/kv.pid",
            "keydb_history_file": f"{HOME}/log/history.jsonl",
            "keydb_unit": UNIT,
            "keydb_system_user": "kv:store",
            "keydb_min_replicas_to_write": 0,
            **data,
        }
        proxy = {
            "haproxy_adopted": True,
            "haproxy_unit": "lb.service",
            "haproxy_write_port": WRITES,
            "haproxy_read_port": READS,
            "haproxy_runtime_socket": "/run/lb/admin.sock",
            "haproxy_pid_file": "/run/lb/lb.pid",
        }
        keys = self.home.parent / "vagrant"
        return write_inventory(self.home, keys, common, node, proxy, admin=admin)

    def follows(self, name: str) -> bool:
        return dict(self.fleet.ask(name, "INFO", role="default")).get("master_link_status") == "up"  # type: ignore[call-overload]

    def processes(self) -> list[str]:
        """Each server's and each proxy's main process, and whether it was restarted."""
        show = "systemctl show --value --property=MainPID --property=NRestarts"
        units = {**dict.fromkeys(NODES, UNIT), **dict.fromkeys(PROXIES, "lb.service")}
        return [f"{name} {self.fleet[name].shell(f'{show} {unit}')}" for name, unit in units.items()]

    def files(self) -> list[str]:
        """What every file of the group and every file of ours is, but for data, logs and what systemd made itself."""
        look = "find /etc /opt /srv -xdev -type f ! -path '*/data/*' ! -path '*/log/*' -exec sha256sum {} + | sort"
        return [machine.shell(look) for machine in self.fleet.machines.values()]

    def remove(self) -> None:
        """Take the group away with all that was added to it."""
        for machine in self.fleet.machines.values():
            machine.shell(
                f"systemctl disable --now {UNIT} kv-guard.service lb.service 2>/dev/null;"
                f"rm -rf {HOME} /srv/lb /opt/kv /etc/kv-runbooks /etc/systemd/system/kv* /etc/systemd/system/lb*;"
                "systemctl daemon-reload",
                check=False,
            )
        shutil.rmtree(self.home)

    def _certificates(self, fleet: Fleet) -> str:
        paths = kept_certificates(self.home / "pki", [*NODES.values(), *PROXIES.values()])
        return paths["keydb_tls_ca"]

    def _make_server(self, machine: Machine) -> None:
        places = " ".join(f"{HOME}/{name}" for name in ("etc", "run", "log", "data", "pki"))
        machine.shell(
            "groupadd -f store; id -u kv >/dev/null 2>&1 || useradd --system --no-create-home -g store kv;"
            f"mkdir -p /opt/kv {places}; chown -R kv:store {HOME}"
        )
        shutil.copy2(self.fleet.program, machine.root / "opt" / "kv" / f"{self.engine}-server")
        primary = machine.name == "keydb-1"
        text = SERVER.format(
            address=machine.address,
            home=HOME,
            password=OLD_PASSWORD,
            ports=f"port {PORT}" if self.ca is None else TLS.format(port=PORT, home=HOME),
            role="" if primary else f"replicaof {NODES['keydb-1']} {PORT}",
        )
        self._put(machine, CONFIG, text)
        if self.ca is not None:
            for name, there in {"certificate.pem": "server.crt", "key.pem": "server.key", "ca.pem": "ca.crt"}.items():
                self._put(machine, f"{HOME}/pki/{there}", (self.home / "pki" / name).read_text())
        self._put(machine, f"/etc/systemd/system/{UNIT}", SERVER_UNIT.format(engine=self.engine))
        machine.shell(
            f"chown -R kv:store {HOME}; chmod 600 {CONFIG}; systemctl daemon-reload; systemctl enable -q --now {UNIT}"
        )

    def _make_proxy(self, machine: Machine) -> None:
        machine.shell("mkdir -p /srv/lb")
        words = [b"AUTH", OLD_PASSWORD.encode()], [b"INFO", b"replication"], [b"QUIT"]
        check = b"".join(
            b"*%d\r\n" % len(each) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in each) for each in words
        )
        ssl = "" if self.ca is None else " check-ssl verify none"
        servers = "\n".join(f"    server {name} {address}:{PORT} check{ssl}" for name, address in NODES.items())
        text = PROXY.format(
            address=machine.address,
            writes=WRITES,
            reads=READS,
            check=check.hex(),
            servers=servers,
            ssl="" if self.ca is None else " default",
        )
        self._put(machine, "/srv/lb/lb.cfg", text)
        self._put(machine, "/etc/systemd/system/lb.service", PROXY_UNIT)
        machine.shell("chmod 600 /srv/lb/lb.cfg; systemctl daemon-reload; systemctl enable -q --now lb.service")

    def _put(self, machine: Machine, path: str, text: str) -> None:
        (machine.root / path.lstrip("/")).write_text(text)


def has_tls(program: str) -> bool:
    """Whether a server was built with TLS: it asks for a certificate then, else it says that it has no TLS."""
    words = [program, "--port", "0", "--tls-port", "1"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=10, stdin=subprocess.DEVNULL)
    return "tls-cert-file" in told.stdout + told.stderr
