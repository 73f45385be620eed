"""Passwords of odd characters work everywhere, and are nowhere but in the files that must have them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from kit import INVENTORY, NODES, REPOSITORY, Result, Sandbox, eventually

ROLES = ("application", "replication", "operator", "monitoring", "check")
FACT = "keydb_runbooks.facts.keydb.KeydbReplication"
LOUD = ("-vvv", "--debug")

# Around @ stands what is odd; in its place comes a word that is in no other password and in nothing else.
ODD = {
    "mixed": (
        " \"@'\\$(id)`id`%s#;>< ",
        "#\"@' \\x41\\ $HOME 密码-🔑-\u202eשלום \\",
        "'; touch /tmp/kr-injected-@; '\u2028\x85",
        ' >@" %d {{ x }}{% if %} é👩‍👩‍👧 ',
        '"' * 100 + "@" + "🔑" * 380,
    ),
    "quotes": ('"@"', "'@'", "\\@\\", '"@', "'@\\\""),
    "spaces and signs": (" @  two words  ", "#@", ">@;<", "\t@\x1b[31m\x07\x7f", "-y --data @"),
    "shell": ("$(id)@", "`@`", "$HOME@${x}", "@ && exit; |", "*?[@]~!"),
    "formats": ("%s%n%%@", "{{ @ }}{% if %}", "\\u0041\\0@", "*MASKED*@", "~* &* +@all @"),
    "unicode": ("pässwörd-@", "密码@", "🔑@👩‍👩‍👧", "\u202eשלום@", "@\x85\u2028\u200b\ufeff"),
    "512 long": ("@" + "x" * 480, "\"\\' $%#" * 68 + "@", '"' * 480 + "@", "@" + "🔑" * 480, "é" * 480 + "@"),
}

# Which files may hold which role's password, and in which form. All are for their owner alone.
ALLOWED = {
    "passwords.json": {(role, "plain") for role in ROLES},
    "keydb.conf": {("replication", "plain"), *((role, "sha256") for role in ROLES)},
    "monitoring.auth": {("monitoring", "plain")},
    "operator.auth": {("operator", "plain")},
    "haproxy.cfg": {("check", "hex")},
}

Needles = dict[tuple[str, str], list[bytes]]


class Passwords:
    """Five passwords around words of their own, and every form in which one of them could be found."""

    def __init__(self, kind: str) -> None:
        # No text has such a word by chance, and it is the same in URLs, in JSON and quoted by shells.
        self.words = {role: f"Kr{secrets.token_hex(8)}Q" for role in ROLES}
        self.texts = {role: odd.replace("@", self.words[role], 1) for role, odd in zip(ROLES, ODD[kind], strict=True)}

    def keep(self, sandbox: Sandbox) -> None:
        path = sandbox.directory / "passwords.json"
        path.touch(0o600)
        path.write_text(json.dumps(self.texts))

    @property
    def needles(self) -> Needles:
        found: Needles = {}
        for role, text in self.texts.items():
            word = self.words[role].encode()
            found[role, "plain"] = [word]
            found[role, "hex"] = [word.hex().encode(), word.hex().upper().encode()]
            found[role, "base64"] = [_inner_base64(word, shift) for shift in range(3)]
            found[role, "sha256"] = [hashlib.sha256(text.encode()).hexdigest().encode()]
        return found

    def found_in(self, content: bytes) -> set[tuple[str, str]]:
        """Which passwords are in there, and in which form."""
        return {key for key, forms in self.needles.items() if any(form in content for form in forms)}


def _inner_base64(word: bytes, shift: int) -> bytes:
    """What base64 makes of a word, whatever stands before and behind it."""
    encoded = base64.b64encode(b"\0" * shift + word)
    return encoded[(0, 4, 4)[shift] : len(encoded) - 4]


@pytest.fixture(autouse=True)
def _the_command_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fork was started with, no list of processes shows."""
    monkeypatch.setattr(Sandbox, "forked", False)


class Watch:
    """Looks for passwords in the arguments and the environment of every process, as often as it can."""

    def __init__(self, passwords: Passwords) -> None:
        self.told: set[str] = set()
        self.looked_at: set[str] = set()
        self._passwords = passwords
        self._known: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with suppress(OSError):
                        self._see(f"{process.name} {name}", (process / name).read_bytes())
            time.sleep(0.005)

    def _see(self, place: str, content: bytes) -> None:
        if content in self._known:
            return
        self._known.add(content)
        if b"cat >" in content:
            self.looked_at.add(place)
        if found := self._passwords.found_in(content):
            self.told.add(f"{place}: {found} in {content[:60]!r}")


class Told:
    """All that was printed, and the runs' exit codes."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.text = ""

    def run(self, deploy: str, *arguments: str, dry: bool = False, **data: str) -> Result:
        result = self.sandbox.run(deploy, *arguments, dry=dry, **data)
        self.text += result.text
        return result

    def pyinfra(self, *arguments: str) -> Result:
        result = self.sandbox.pyinfra(INVENTORY, *arguments)
        self.text += result.text
        return result


def leaks(passwords: Passwords, sandbox: Sandbox, told: Told, since: float) -> list[str]:
    """Every place in which a password is and must not be."""
    found = [f"the output: {leak}" for leak in passwords.found_in(told.text.encode())]
    debug_log = REPOSITORY / "pyinfra-debug.log"
    if debug_log.exists():
        found += [f"pyinfra-debug.log: {leak}" for leak in passwords.found_in(debug_log.read_bytes())]
    for path in (path for path in sandbox.directory.rglob("*") if path.is_file()):
        seen = passwords.found_in(path.read_bytes())
        kind = path.name.removesuffix(".previous")
        found += [f"{path}: {leak}" for leak in seen - ALLOWED.get(kind, set())]
        if seen and path.stat().st_mode & 0o077:
            found.append(f"{path} can be read by others")
    for path in recent_files(since):
        found += [f"{path}: {leak}" for leak in passwords.found_in(path.read_bytes())]
    return found


def recent_files(since: float) -> Iterator[Path]:
    """Files that came into being where programs put what they forget."""
    for path in [*Path("/tmp").iterdir(), *Path("/dev/shm").iterdir()]:
        with suppress(OSError):
            facts = path.lstat()
            if (
                path.is_file()
                and not path.is_symlink()
                and facts.st_mtime >= since
                and facts.st_size < 2**20
                and os.access(path, os.R_OK)
            ):
                yield path


def serves(sandbox: Sandbox, primary: str) -> None:
    """Peers log in by their files, HAProxy's check by its own, and an application through the proxy."""
    sandbox.healthy(primary)
    eventually(sandbox.writable, "an application writes through the proxy")
    eventually(lambda: len({sandbox.keys(node) for node in NODES}) == 1, "replicas have what was written")


def no_change(install: Result) -> None:
    assert install.ok().total()[1:3] == (0, 0), install.text


def read_facts(told: Told) -> None:
    """Every node tells its role by the file that facts log in with."""
    for node in NODES:
        where = [f"address={told.sandbox.address_of(node)}", f"port={told.sandbox.port_of(node)}"]
        secret = f"auth_file={told.sandbox.directory / node / 'monitoring.auth'}"
        text = told.pyinfra("fact", FACT, *where, secret, "--limit", node, *LOUD).ok().text
        assert '"replication_id"' in text, text


@pytest.mark.in_ci
@pytest.mark.parametrize(
    "kind", ["mixed", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ODD if kind != "mixed")]
)
def test_odd_passwords_work_on_every_way_and_are_seen_nowhere(kind: str, nothing: Sandbox) -> None:
    passwords, told, since = Passwords(kind), Told(nothing), time.time()
    passwords.keep(nothing)
    assert max(map(len, passwords.texts.values())) <= 512

    with Watch(passwords) as watch:
        told.run("install", "--diff", "--debug-operations", *LOUD, dry=True).ok()
        told.run("install", *LOUD).ok()
        serves(nothing, "keydb-1")
        with nothing.unchanged():
            no_change(told.run("install", *LOUD))
            told.pyinfra("debug-inventory", *LOUD).ok()
            told.pyinfra("debug-inventory", "--json").ok()
            told.run("status", *LOUD).ok()
            told.run("status", format="json").ok()
            told.run("drift", *LOUD).ok()
            told.run("drift", format="json").ok()
            read_facts(told)
        told.run("switchover", *LOUD, to="keydb-2").ok()
        serves(nothing, "keydb-2")
        nothing.kill("keydb-2")
        told.run("failover", *LOUD).ok()
        told.run("start", *LOUD).ok()
        told.run("rejoin", *LOUD).ok()
        serves(nothing, nothing.primaries()[0])
        with nothing.unchanged():
            no_change(told.run("install"))

    assert watch.looked_at, "the watch saw nothing of the install"
    assert watch.told == set()
    assert leaks(passwords, nothing, told, since) == []
    assert not list(Path("/tmp").glob("kr-injected-*"))
    # The files that must have them do, so it was looked for in the right form.
    for name, allowed in ALLOWED.items():
        there = [passwords.found_in(path.read_bytes()) for path in nothing.directory.rglob(name)]
        assert there and all(seen == allowed for seen in there), name


def unnamed(sandbox: Sandbox, node: str, password: str | None = None) -> redis.Redis:
    """A client of a server that logs in without a name."""
    return redis.Redis(
        port=sandbox.port_of(node), password=password, protocol=2, driver_info=None, decode_responses=True
    )


@pytest.mark.in_ci
def test_changed_passwords_are_taken_over_live_and_shown_nowhere(nothing: Sandbox) -> None:
    before, after, told, since = Passwords("quotes"), Passwords("mixed"), Told(nothing), time.time()
    # The operator's is what a run logs in with, so it stays.
    after.words["operator"], after.texts["operator"] = before.words["operator"], before.texts["operator"]
    # The default user may look at what the server noted of every command.
    data = {"keydb_default_user": "keep", "keydb_settings": '{"slowlog-log-slower-than": 0, "slowlog-max-len": 10000}'}
    before.keep(nothing)
    told.run("install", **data).ok()
    nothing.healthy("keydb-1")

    after.keep(nothing)
    with Watch(after) as watch:
        told.run("install", "--diff", "--debug-operations", *LOUD, dry=True, **data).ok()
        told.run("install", *LOUD, **data).ok()

    serves(nothing, "keydb-1")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(
            port=nothing.port_of("keydb-1"), username="application", password=before.texts["application"]
        ).ping()
    with nothing.unchanged():
        no_change(told.run("install", **data))
    told.run("switchover", to="keydb-3", **data).ok()
    nothing.healthy("keydb-3")
    assert watch.told == set()
    for passwords in (before, after):
        assert leaks(passwords, nothing, told, since) == []
        for node in NODES:
            noted = repr(unnamed(nothing, node).execute_command("SLOWLOG", "GET", "10000"))
            assert "masterauth" in noted
            assert passwords.found_in(noted.encode()) == set()


def test_a_line_that_the_server_refuses_is_shown_without_its_secret(group: Sandbox) -> None:
    path = group.config("keydb-2")
    path.write_text(f"{path.read_text()}\nrequirepass never-told never-told\n")

    result = group.run("install", *LOUD, keydb_maxmemory="32mb")

    result.refused("the server refuses the new configuration", "requirepass ...")
    assert "never-told" not in result.text


@pytest.mark.in_ci
def test_clients_without_a_name_are_kept_until_the_default_user_is_put_off(nothing: Sandbox) -> None:
    kept = {"keydb_default_user": "keep"}
    nothing.run("install", **kept).ok()
    for node in NODES:
        # As a group was before it had users: one password for everybody, and it is saved.
        client = unnamed(nothing, node)
        client.config_set("requirepass", "old one")
        client.config_rewrite()
        client.connection_pool.disconnect()
    nothing.healthy("keydb-1")

    with nothing.unchanged():
        no_change(nothing.run("install", **kept))
    nothing.run("switchover", to="keydb-2", **kept).ok()
    # The file has it: a server that is started again knows it.
    nothing.stop("keydb-3")
    nothing.run("start", **kept).ok()
    nothing.run("rejoin", **kept).ok()
    nothing.healthy("keydb-2")
    for node in NODES:
        assert unnamed(nothing, node, "old one").ping()
    assert unnamed(nothing, "keydb-2", "old one").set("test:unnamed", "1")

    nothing.install().ok()

    for node in NODES:
        with pytest.raises(redis.AuthenticationError):
            unnamed(nothing, node, "old one").ping()
    serves(nothing, "keydb-2")
    for word in ("off", "keep"):
        with nothing.unchanged():
            no_change(nothing.run("install", keydb_default_user=word))
