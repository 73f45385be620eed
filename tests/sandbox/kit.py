"""A sandbox for tests: real servers, the real ``pyinfra`` command, faults, and what must not have changed.

A founded group is made once per engine and test process by a real install. Its files are kept as an image, and
every test begins with this image and fresh processes: that takes a fraction of a second, an install takes two.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path

import redis
from prefork import Prefork, Run
from printed import COLOR, Result
from redis.backoff import NoBackoff
from redis.retry import Retry

from keydb_runbooks.connectors.network import Network, relay_address, server_address
from keydb_runbooks.connectors.ports import is_free
from keydb_runbooks.connectors.programs import find_proxy, find_server
from keydb_runbooks.connectors.sandbox import MARK, Processes

REPOSITORY = Path(__file__).resolve().parents[2]
INVENTORY = "inventories/sandbox.py"
FAULTS = "tests/sandbox/faults.py"
NODES = ("keydb-1", "keydb-2", "keydb-3")
PORTS_USED = (0, 1, 2, 11, 12, 13, 14)
GUARD = ("--replicaof", "255.255.255.255", "1", "--set-proc-title", "no")


class Sandbox:
    """Three servers and a proxy of one engine, in a directory and on ports of their own.

    ``tls`` encrypts everything. ``relays`` puts a network between them whose faults are ``network``'s methods; what
    a test itself asks a server goes around it.
    """

    # Whether pyinfra is a fork of a process that has imported it (``prefork``): its own arguments can't be seen then.
    forked = True

    def __init__(self, engine: str, *, tls: bool = False, relays: bool = False) -> None:
        self.engine = engine
        self.tls = tls
        self.relays = relays
        # Short, since the path of a Unix socket has 107 characters at most.
        self.directory = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))
        self.image = self.directory.with_name(self.directory.name + "-image")
        self.port = free_ports()
        self.processes = Processes(self.directory)
        self.network = Network(self.directory, self.port)
        # Words before pyinfra and before each server that is started here, ``unshare`` for instance.
        self.around: tuple[str, ...] = ()

    # Running pyinfra

    @cached_property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KEYDB_SANDBOX_DIRECTORY": str(self.directory),
            "KEYDB_SANDBOX_PORT": str(self.port),
            "KEYDB_SANDBOX_ENGINE": self.engine,
            "KEYDB_SANDBOX_TLS": "yes" if self.tls else "no",
            "KEYDB_SANDBOX_RELAYS": "yes" if self.relays else "no",
            "PYINFRA_PROGRESS": "off",
            "COLUMNS": "200",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str] | Run:
        """Start ``pyinfra`` with these arguments, and don't wait for it."""
        if self.forked and not self.around:
            return prefork().start(arguments, REPOSITORY, self.environment)
        return subprocess.Popen(
            [*self.around, str(Path(sys.executable).parent / "pyinfra"), *arguments],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pyinfra(self, *arguments: str, patience_seconds: float = 60) -> Result:
        """Run ``pyinfra`` with these arguments."""
        process = self.start(*arguments)
        try:
            text, _ = process.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            text, _ = process.communicate()
            raise AssertionError(f"{' '.join(arguments)} did not end in {patience_seconds} s:\n{text}") from None
        return Result(process.returncode, COLOR.sub("", text))

    def run(self, deploy: str, *arguments: str, dry: bool = False, **data: str) -> Result:
        """Run a deploy of the repository by name, ``-y`` or ``--dry``, with ``--data`` for each keyword."""
        path = deploy if deploy.endswith(".py") else f"deploys/{deploy}.py"
        given = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
        return self.pyinfra(INVENTORY, path, *given, "--dry" if dry else "-y", *arguments)

    def install(self) -> Result:
        if self.relays:
            self.network.start()
        return self.run("install")

    def fact(self, name: str, **arguments: object) -> dict[str, object]:
        """The values of a fact by host name."""
        words = [f"{key}={value}" for key, value in arguments.items()]
        text = self.pyinfra(INVENTORY, "fact", name, *words).ok().text
        found = text[text.index("\n{") + 1 : text.rindex("\n}") + 2]
        return dict(json.loads(found))

    def status(self) -> dict[str, object]:
        """What the status deploy says of the group as JSON; its exit code must be 0."""
        text = self.run("status", format="json").ok().text
        start = text.index("\n{") + 1
        (told,) = json.JSONDecoder().raw_decode(text[start:])[0]["groups"]
        return dict(told)

    def findings(self) -> list[str]:
        """The codes of what status finds."""
        return [str(finding["code"]) for finding in self.status()["findings"]]  # type: ignore[attr-defined]

    # Looking at servers

    @property
    def passwords(self) -> dict[str, str]:
        return dict(json.loads((self.directory / "passwords.json").read_text()))

    def port_of(self, node: str) -> int:
        """Port of a server; of a proxy the one for writes."""
        kind, _, number = node.partition("-")
        return self.port + (10 + int(number) if kind == "keydb" else 0)

    def address_of(self, node: str) -> str:
        """Where a server listens."""
        kind, _, number = node.partition("-")
        return server_address(int(number)) if self.relays and kind == "keydb" else "127.0.0.1"

    def known_address_of(self, node: str) -> str:
        """Where the group reaches a server: its ``keydb_address``."""
        return relay_address(int(node.partition("-")[2])) if self.relays else "127.0.0.1"

    def client(self, node: str, role: str = "operator", timeout: float = 2) -> redis.Redis:
        """A client of a server or of the proxy, logged in as one of the group's users."""
        return redis.Redis(
            host=self.address_of(node),
            port=self.port_of(node),
            ssl=self.tls,
            **({"ssl_ca_certs": str(self.directory / "certificates" / "ca.pem")} if self.tls else {}),
            username=role,
            password=self.passwords[role],
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
            decode_responses=True,
        )

    def ask(self, node: str, *command: object, role: str = "operator", timeout: float = 2) -> object:
        """One command on a connection of its own."""
        client = self.client(node, role, timeout)
        try:
            return client.execute_command(*command)
        finally:
            client.close()
            client.connection_pool.disconnect()

    def info(self, node: str) -> dict[str, object]:
        return dict(self.ask(node, "INFO"))  # type: ignore[call-overload]

    def role(self, node: str) -> str:
        return str(self.info(node)["role"])

    def primaries(self) -> list[str]:
        """The running nodes that say they are primaries."""
        return [node for node in NODES if self.pid(node) and self.role(node) == "master"]

    def follows(self, node: str, primary: str) -> bool:
        """Whether a node replicates another and its link is up."""
        info = self.info(node)
        return info.get("master_port") == self.port_of(primary) and info.get("master_link_status") == "up"

    def heard(self, primary: str) -> bool:
        """Whether a replica still counts as following: its link is up, and it heard something within three seconds."""
        rows = [self.info(node) for node in NODES if node != primary]
        return any(
            row["master_link_status"] == "up" and int(str(row["master_last_io_seconds_ago"])) < 3 for row in rows
        )

    def paused(self, node: str) -> bool:
        """Whether writes are held back; only for servers that nobody else keeps busy."""
        try:
            self.ask(node, "PFCOUNT", "runbook:probe:none", timeout=0.4)
        except redis.TimeoutError:
            return True
        return False

    def keys(self, node: str) -> int:
        """How many keys a node holds."""
        database = self.info(node).get("db0")
        return int(database["keys"]) if isinstance(database, dict) else 0

    def on_disk(self, node: str) -> str:
        """What the ``replicaof`` line of a node's file names: another node, "" or the raw words."""
        lines = [line.split() for line in self.config(node).read_text().splitlines()]
        values = [words[1:] for words in lines if words and words[0] == "replicaof"]
        names = {(self.known_address_of(other), str(self.port_of(other))): other for other in NODES}
        return names.get(tuple(values[-1]), " ".join(values[-1])) if values else ""

    def config(self, node: str) -> Path:
        return self.directory / node / "keydb.conf"

    def pid(self, node: str) -> int | None:
        return self.processes.of(self.pid_file(node))

    def healthy(self, primary: str) -> None:
        """The whole promise: one primary, everybody follows it, nobody is paused, the proxy leads there."""
        others = [node for node in NODES if node != primary]
        eventually(lambda: self.primaries() == [primary], f"{primary} alone is primary")
        for node in others:
            eventually(lambda node=node: self.follows(node, primary), f"{node} follows {primary}")
            assert self.on_disk(node) == primary
        assert self.on_disk(primary) == ""
        assert not [node for node in NODES if self.paused(node)]
        eventually(lambda: self.reached() == primary, f"the proxy leads to {primary}")

    def reached(self) -> str | None:
        """The node that a client of the proxy reaches, None if it reaches nobody."""
        with suppress(redis.RedisError):
            run_id = dict(self.ask("proxy-1", "INFO", "server"))["run_id"]  # type: ignore[call-overload]
            return next((node for node in NODES if self.pid(node) and self.info(node)["run_id"] == run_id), None)
        return None

    def snapshot(self) -> dict[str, object]:
        """All that a run which changes nothing leaves as it is: files, processes, roles and lineages.

        Left out are logs, the history, data files (servers save when they like) and what a stream moves by itself.
        """
        seen: dict[str, object] = {}
        for path in sorted(self.directory.rglob("*")):
            if path.name in ("server.log", "journal.txt", "history.jsonl") or path.parent.name == "data":
                continue
            facts = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            # A directory's time tells that something was made in it and removed again, as a check does.
            shape = (stat.filemode(facts.st_mode), facts.st_ino, facts.st_mtime_ns, content)
            seen[str(path.relative_to(self.directory))] = shape
        seen["processes"] = sorted(self.processes.all())
        fields = ("run_id", "role", "master_replid", "master_replid2", "second_repl_offset", "master_host")
        for node in NODES:
            if self.pid(node) and self.answers(node):
                info = self.info(node)
                epoch = self.ask(node, "GET", "runbook:epoch")
                seen[node] = (*(info.get(field) for field in (*fields, "master_port")), self.keys(node), epoch)
        return seen

    def streams(self) -> bool:
        """Whether each replica whose link is up gets the stream: behind a full resync that begins up to a second later."""
        info = {node: self.info(node) for node in NODES if self.pid(node) and self.answers(node)}
        primaries = {seen["master_replid"]: self.keys(node) for node, seen in info.items() if seen["role"] == "master"}
        return all(
            self.keys(node) == primaries.get(seen["master_replid"], self.keys(node))
            for node, seen in info.items()
            if seen.get("master_link_status") == "up"
        )

    @contextmanager
    def unchanged(self, *, settled: bool = True) -> Iterator[None]:
        """Nothing at all differs afterwards; ``settled`` is False where a replica is behind on purpose."""
        if settled:
            eventually(self.streams, "every replica whose link is up has what its primary has")
        before = self.snapshot()
        yield
        after = self.snapshot()
        different = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        assert not different, {key: (before.get(key), after.get(key)) for key in different}

    def answers(self, node: str) -> bool:
        try:
            self.ask(node, "PING", timeout=0.2)
        except redis.RedisError:
            return False
        return True

    # Faults, and their end

    def kill(self, node: str) -> None:
        self._signal(node, signal.SIGKILL)

    def stop(self, node: str) -> None:
        self._signal(node, signal.SIGTERM)

    def freeze(self, node: str) -> None:
        self._signal(node, signal.SIGSTOP)

    def thaw(self, node: str) -> None:
        self._signal(node, signal.SIGCONT)

    def boot(self, node: str, *arguments: str, answering: bool = True, program: str = "") -> None:
        """Start a server without pyinfra, as a unit or a person would; without the guard it is what its file says."""
        self.pid_file(node).unlink(missing_ok=True)
        words = [program or find_server(self.engine)[1], str(self.config(node)), "--set-proc-title", "no", *arguments]
        self._spawn(words)
        eventually(lambda: self.pid(node) is not None, f"{node} has a pid file")
        if answering:
            eventually(lambda: self.answers(node), f"{node} answers")

    def boot_proxy(self) -> None:
        self.pid_file("proxy-1").unlink(missing_ok=True)
        self._spawn([find_proxy(), "-D", "-f", str(self.directory / "proxy-1" / "haproxy.cfg")])

    def ask_proxy(self, command: str) -> bytes:
        """What HAProxy answers at its runtime socket."""
        with socket.socket(socket.AF_UNIX) as runtime:
            runtime.connect(str(self.directory / "proxy-1" / "admin.sock"))
            runtime.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: runtime.recv(65536), b""))

    def keep_image(self) -> None:
        """Keep the files of the group as it is now, for ``restore``."""
        for node in NODES:
            # The operator may not save; a server that is stopped does.
            self.stop(node)
        self.end()
        shutil.copytree(self.directory, self.image, symlinks=True, ignore=shutil.ignore_patterns("*.sock", "*.pid"))

    def restore(self) -> None:
        """The founded group again, whatever a test did to it: files as after the install, fresh processes.

        All start guarded and keydb-1 is promoted, its lineage recorded, as failover does it: a primary that is
        started as one forgets on KeyDB whose data it has, and each of its restarts is a stranger.
        """
        self.kill_all()
        self.environment.pop("KEYDB_SANDBOX_NODES", None)
        shutil.rmtree(self.directory)
        shutil.copytree(self.image, self.directory, symlinks=True)
        if self.relays:
            self.network.start()
        for node in NODES:
            self.boot(node, "--replicaof", "255.255.255.255", "1")
        first, port = NODES[0], self.port_of(NODES[0])
        info = self.info(first)
        self.ask(first, "CONFIG", "SET", "min-replicas-to-write", "0")
        self.ask(first, "REPLICAOF", "NO", "ONE")
        # At once: the first replica's full resync makes the server forget its former id.
        self.ask(first, "SET", "runbook:lineage", f"{info['master_replid']}:{info['slave_repl_offset']}")
        self.ask(first, "CONFIG", "SET", "min-replicas-to-write", "1")
        for node in NODES[1:]:
            self.ask(node, "REPLICAOF", self.known_address_of(first), port)
        self.boot_proxy()
        for node in NODES[1:]:
            eventually(lambda node=node: self.follows(node, first), f"{node} follows {first}")
        for node in NODES:
            self.ask(node, "CONFIG", "REWRITE")
        eventually(lambda: self.writable(), "the proxy takes writes", 10)
        # Until its first check a server counts as up, so that a young proxy would send writes to all of them.
        eventually(lambda: b",INI," not in self.ask_proxy("show stat"), "the proxy has checked every server")
        eventually(lambda: len({self.keys(node) for node in NODES}) == 1, "replicas have all keys")

    def writable(self, name: str = "test:writable") -> bool:
        """Whether an application can write through the proxy."""
        try:
            return bool(self.ask("proxy-1", "SET", name, "x", role="application"))
        except redis.RedisError:
            return False

    def fill(self, count: int) -> None:
        """Write keys through the proxy and wait until every replica has them."""
        client = self.client("proxy-1", "application")
        pipeline = client.pipeline(transaction=False)
        for number in range(count):
            pipeline.set(f"test:{number}", "x" * 100)
        pipeline.execute()
        client.connection_pool.disconnect()
        eventually(lambda: len({self.keys(node) for node in NODES}) == 1, "replicas have all keys")

    def kill_all(self) -> None:
        """End everything at once; for files that are thrown away."""
        for pid in self.processes.all():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes.stop_all()

    def end(self) -> None:
        self.processes.stop_all()

    def remove(self) -> None:
        """Leave no process and no file behind."""
        self.kill_all()
        for path in (self.directory, self.image):
            shutil.rmtree(path, ignore_errors=True)

    def pid_file(self, node: str) -> Path:
        return self.directory / node / ("haproxy.pid" if node.startswith("proxy") else "server.pid")

    def _signal(self, node: str, number: signal.Signals) -> None:
        pid = self.pid(node)
        assert pid is not None, f"{node} does not run"
        os.kill(pid, number)
        if number in (signal.SIGTERM, signal.SIGKILL):
            # Redis and Valkey wait 10 s for replicas that are behind (shutdown-timeout).
            assert self.processes.wait([pid], 20), f"{node} did not end"

    def _spawn(self, words: list[str], *, umask: int = 0o077) -> None:
        subprocess.run(
            [*self.around, *words],
            env={**os.environ, MARK: str(self.directory)},
            cwd="/",
            check=True,
            capture_output=True,
            timeout=20,
            umask=umask,
            # Python ignores SIGXFSZ: beyond a limit for files a server gets an error as from a full disk, and lives.
            restore_signals=False,
        )


WRITES_PER_SECOND = 300
"""Of its four clients together. Four tests run at once, and with 1,000 each their writers alone would fill two cores."""


class Writer:
    """``demo/writer.py`` through the proxy, and what its journal says at the end."""

    def __init__(self, sandbox: Sandbox, per_second: int) -> None:
        self.sandbox = sandbox
        self.journal = sandbox.directory / "journal.txt"
        self.process = subprocess.Popen(
            [sys.executable, "demo/writer.py", str(sandbox.port), str(self.journal), str(per_second)],
            cwd=REPOSITORY,
            env=sandbox.environment,
        )

    def write_on(self, seconds: float = 0.3, patience_seconds: float = 10) -> None:
        """Wait until writes were acknowledged for a while after now."""
        from demo.measure import last_answer

        wanted = time.monotonic() + seconds
        eventually(
            lambda: (last_answer(self.journal) or 0) > wanted, "the writer's writes are acknowledged", patience_seconds
        )

    def lost(self) -> int:
        """End the writer; how many of its acknowledged writes the group no longer has."""
        from demo.measure import find_lost, read_journal

        eventually(lambda: len(read_journal(self.journal)) > 100, "enough writes to tell anything")
        self.stop()
        writes = read_journal(self.journal)
        server = self.sandbox.client("proxy-1", "application")
        try:
            return len(find_lost(writes, server))
        finally:
            server.connection_pool.disconnect()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(15)


@contextmanager
def writing(sandbox: Sandbox, per_second: int = WRITES_PER_SECOND) -> Iterator[Writer]:
    """A writer that has begun to write, and never outlives the test."""
    writer = Writer(sandbox, per_second)
    try:
        writer.write_on()
        yield writer
    finally:
        if writer.process.poll() is None:
            writer.process.kill()
            writer.process.wait()


def eventually(look: Callable[[], bool], expectation: str, patience_seconds: float = 8) -> None:
    """Wait until something holds; a server that doesn't answer yet counts as not yet."""
    deadline = time.monotonic() + patience_seconds
    while True:
        with suppress(redis.RedisError):
            if look():
                return
        assert time.monotonic() < deadline, f"not within {patience_seconds} s: {expectation}"
        time.sleep(0.02)


@cache
def prefork() -> Prefork:
    """One for each test process."""
    return Prefork()


def free_ports() -> int:
    """The first port of a free range, another one for every test process and every call.

    In cluster mode a server listens 10,000 above its port as well: that, too, stays below the ports that the system
    gives to outgoing connections (from 32,768 on).
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    begin = 10000 + int(worker) % 12 * 1000
    while True:
        first = begin + free_ports.taken * 20 % 1000  # type: ignore[attr-defined]
        free_ports.taken += 1  # type: ignore[attr-defined]
        if _claimed(first) and all(is_free("127.0.0.1", first + offset) for offset in PORTS_USED):
            return first


free_ports.taken = 0  # type: ignore[attr-defined]


_claims: list[socket.socket] = []


def _claimed(first: int) -> bool:
    """Take a range of ports against other test runs on this machine; the claim ends with this process."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0keydb-runbooks-tests-{first}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True
