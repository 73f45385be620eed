"""The verbs' pages as stories: every command that a page shows is run as it stands there, and its output is the sample.

    .venv/bin/python tests/sandbox/pages.py            records all samples anew, of all pages
    .venv/bin/python tests/sandbox/pages.py failover   those of one page

A page begins with a healthy group. An indented ``pyinfra inventories/sandbox.py ...`` is run; what stands below it,
after a blank line, is its sample (``...`` before the first recording). A command with nothing below it is run too, and
its output is not shown. What happens in between is a comment of the page, one of ``WORLD``:

    <!-- keydb-1 is killed -->
"""

from __future__ import annotations

import json
import re
import resource
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kit import INVENTORY, NODES, REPOSITORY, Result, Sandbox, eventually
from printed import of_waits
from versions import renamed

from keydb_runbooks.connectors.programs import find_server

DOCS = REPOSITORY / "docs"
PAGES = (
    *("switchover", "failover", "rejoin", "fence", "unfence", "promote", "demote", "abort"),
    *("restart", "upgrade", "backup", "restore", "members", "rotate", "uninstall"),
)
ASKED = ("status.py", "history.py", "drift.py")
"""Deploys that change nothing, so that pyinfra doesn't ask."""

INDENT = " " * 4
COMMAND = f"{INDENT}pyinfra {INVENTORY} "
ENDLESS = 10**12
SHOWN = "/srv/demo"
"""What a page has in place of the sandbox's directory."""

GUARD = ("REPLICAOF", "255.255.255.255", "1")


# What happens in a page's story


def killed(group: Sandbox, node: str) -> None:
    others = [other for other in NODES if other != node and group.pid(other)]
    group.kill(node)
    for other in others:
        eventually(lambda other=other: group.info(other).get("master_link_status") != "up", f"{other} noticed it")
    eventually(lambda: not up(group, node), "the proxy noticed it")


def frozen(group: Sandbox, node: str) -> None:
    """For so long that nobody counts it as heard."""
    primary = node in group.primaries()
    group.freeze(node)
    if primary:
        others = [other for other in NODES if other != node]
        eventually(
            lambda: all(int(str(group.info(one)["master_last_io_seconds_ago"])) > 3 for one in others), "silence"
        )
    eventually(lambda: not up(group, node), "the proxy noticed it")


def thawed(group: Sandbox, node: str) -> None:
    group.thaw(node)
    eventually(lambda: group.answers(node), f"{node} answers")


def takes_writes(group: Sandbox, node: str) -> None:
    """Of somebody who reaches it around the proxies."""
    eventually(lambda: group.role(node) == "master", f"{node} is a primary")
    group.ask(node, "CONFIG", "SET", "min-replicas-to-write", "0")
    for words in (("lock:invoice\x00\x07", "x"), ("session:41", "x"), ("test:7", "of another length")):
        group.ask(node, "SET", *words, role="application")
    eventually(lambda: up(group, node), "the proxy took it for a primary")


def paused(group: Sandbox, node: str) -> None:
    group.ask(node, "CLIENT", "PAUSE", ENDLESS, "WRITE")


def fenced(group: Sandbox, node: str) -> None:
    group.run("fence", node=node).ok()


def failed_over(group: Sandbox, _: str) -> None:
    group.run("failover").ok()


def promoted_by_hand(group: Sandbox, node: str) -> None:
    """So that neither its lineage nor its epoch tells who is right."""
    group.ask(node, "CONFIG", "SET", "min-replicas-to-write", "0")
    group.ask(node, "REPLICAOF", "NO", "ONE")
    group.ask(node, "SET", "runbook:epoch", "5")


def without_power(group: Sandbox, _: str) -> None:
    for node in NODES:
        group.kill(node)


def started(group: Sandbox, _: str) -> None:
    group.run("start").ok()

    def checked() -> bool:
        (proxy,) = group.status()["proxies"]  # type: ignore[misc]
        return all(one["check"].startswith("L7") for one in proxy["writers"])

    eventually(checked, "the proxy has asked everybody")


def disk(room: bool) -> Callable[[Sandbox, str], None]:
    """A limit for the size of files is what a full disk is for a process: each write of one fails."""

    def change(group: Sandbox, node: str) -> None:
        pid = group.pid(node)
        assert pid is not None
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if room else 0, hard))

    return change


def backed_up(group: Sandbox, _: str) -> None:
    """And clients went on."""
    group.run("backup", save_to=str(group.directory / "backups")).ok()
    for ending in (".rdb", ".json"):
        (made,) = (group.directory / "backups").glob(f"*{ending}")
        made.rename(group.directory / f"backup{ending}")
    group.fill(60)


def settled(group: Sandbox, _: str) -> None:
    """The proxy's own checks have come to what is true."""
    replicas = [node for node in NODES if group.pid(node) and group.role(node) == "slave"]

    def agrees() -> bool:
        (proxy,) = group.status()["proxies"]  # type: ignore[misc]
        following = [node for node in replicas if group.info(node)["master_link_status"] == "up"]
        led = {kind: [one["node"] for one in proxy[kind] if one["up"]] for kind in ("writers", "readers")}
        return led == {"writers": group.primaries(), "readers": following}

    eventually(agrees, "the proxy knows who is who")


def gets_program(group: Sandbox, _: str) -> None:
    renamed(find_server(group.engine)[1], group.directory / "keydb-server")


def gets_passwords(group: Sandbox, _: str) -> None:
    """In the inventory, with the old ones beside them."""
    new = group.directory / "new.json"
    new.touch(0o600)
    new.write_text(json.dumps({role: secrets.token_urlsafe(24) for role in group.passwords}))
    (group.directory / "passwords.json").rename(group.directory / "previous.json")
    new.rename(group.directory / "passwords.json")


def stands(group: Sandbox, node: str) -> None:
    group.environment["KEYDB_SANDBOX_NODES"] = node.removeprefix("keydb-")


WORLD: dict[str, Callable[[Sandbox, str], None]] = {
    "is killed": killed,
    "is frozen": frozen,
    "goes on": thawed,
    "takes writes of its own": takes_writes,
    "was paused by a run that died": paused,
    "was fenced": fenced,
    "loses its power": without_power,
    "is started guarded": started,
    "is failed over": failed_over,
    "was promoted by hand": promoted_by_hand,
    "has a full disk": disk(room=False),
    "has room on its disk again": disk(room=True),
    "has settled": settled,
    "gets a newer program": gets_program,
    "was backed up": backed_up,
    "gets new passwords": gets_passwords,
    "stands in the inventory": stands,
}
"""What a comment may say behind a name: of a node, or ``the group``."""


def up(group: Sandbox, node: str) -> bool:
    """Whether the proxy gives a node any writes or reads."""
    (proxy,) = group.status()["proxies"]  # type: ignore[misc]
    return any(one["up"] for one in (*proxy["writers"], *proxy["readers"]) if one["node"] == node)


# A page, and its samples


@dataclass(frozen=True)
class Sample:
    """A command of a page with the lines below it: ``lines[begin:end]`` of the page, none if they are the same."""

    command: str
    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Event:
    """What happens between two commands."""

    where: str
    what: str


def read(page: str) -> Iterator[Sample | Event]:
    """A page's commands and what happens between them, in order."""
    lines = page.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("<!-- "):
            told = line.removeprefix("<!-- ").removesuffix(" -->")
            what = next((one for one in WORLD if told.endswith(f" {one}")), None)
            assert what is not None, f"{line}: behind a name may stand {', '.join(WORLD)}"
            yield Event(told.removesuffix(what).strip(), what)
        elif line.startswith(COMMAND):
            begin, end = block(lines, number)
            yield Sample(line.strip(), begin, end, "\n".join(one.removeprefix(INDENT) for one in lines[begin:end]))


def block(lines: list[str], number: int) -> tuple[int, int]:
    """Where a command's sample begins and ends: up to the next line that isn't indented, or the next command."""
    following = range(number + 1, len(lines))
    after = next(
        (
            one
            for one in following
            if lines[one] and (not lines[one].startswith(INDENT) or lines[one].startswith(COMMAND))
        ),
        len(lines),
    )
    shown = [one for one in following if one < after and lines[one]]
    return (shown[0], shown[-1] + 1) if shown else (number, number)


def run(group: Sandbox, command: str) -> Result:
    """A command as a page has it; ``-y`` is given where a person would be asked."""
    words = shlex.split(command.replace(SHOWN, str(group.directory)))[1:]
    asked = "--dry" not in words and not words[1].endswith(ASKED)
    return group.pyinfra(*words, *(["-y"] if asked else []))


def excerpt(group: Sandbox, result: Result) -> str:
    """What the project itself printed, on the ports and in the directory that everybody's sandbox has.

    Of a run these are the steps and the end, since its plan is what a dry run shows.
    """
    text = re.sub(r" -y$", "", result.text.replace(str(group.directory), SHOWN), flags=re.MULTILINE)
    for offset in range(20):
        text = re.sub(rf"\b{group.port + offset}\b", str(17000 + offset), text)
    lines = [line.rstrip() for line in text.splitlines()]
    for told in (_refusal(lines), _acts(lines), _plan(lines), _tree(lines)):
        if told:
            return "\n".join(told)
    raise AssertionError(f"nothing to show in:\n{result.text}")


def _refusal(lines: list[str]) -> list[str]:
    first = next((number for number, line in enumerate(lines) if line.startswith("    refused: ")), None)
    return [] if first is None else [line[4:] for line in lines[first : lines.index("", first)]]


def _acts(lines: list[str]) -> list[str]:
    begun = next((number for number, line in enumerate(lines) if line.startswith("--> Starting operation: ")), None)
    if begun is None:
        return []
    shown = lines[begun + 1 : lines.index("--> Results:")]
    # What is waited for between two nodes, a proxy's next check as a rule, takes another time in each run.
    told = zip(shown, of_waits(shown), strict=True)
    return [line[8:] for line, of_wait in told if line.startswith(" " * 8) and not of_wait]


def _plan(lines: list[str]) -> list[str]:
    heads = tuple(
        f"        {word}"
        for word in ("plan: ", "nothing to do", "add-node of ", "remove-node of ", "rotate of ", "uninstall of ")
    )
    first = (number for number, line in enumerate(lines) if line.startswith(heads))
    begin = next(first, None)
    if begin is None:
        return []
    end = next(number for number, line in enumerate(lines) if number > begin and not line.startswith(" " * 8))
    return [line[8:] for line in lines[begin:end]]


def _tree(lines: list[str]) -> list[str]:
    first = next((number for number, line in enumerate(lines) if line.startswith("group ")), None)
    return [] if first is None else lines[first : lines.index("", first)]


VARIES = (
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b(keydb|valkey|redis)-check-rdb", "CHECK"),
    (r"\d\d:\d\d:\d\d", "TIME"),
    (r"\d{8}T\d{6}Z", "TIME"),
    (r"\bsha256 [0-9a-f]{8}", "sha256 ID"),
    (r"\b[0-9a-f]{40}\b|\b[0-9a-f]{8}\b", "ID"),
    (r"[\d,.]+ (ms|bytes|%|B\b)", r"# \1"),
    (r"-\d+(?=\.rdb|\.differences|$)", "-#"),
    (r"\b(offset|down for|UP for|DOWN for|heard|in) [\d,.]+( s\b)?", r"\1 #\2"),
    (r"(keydb-\d) [\d,]+ 100 ", r"\1 # 100 "),
    (r"(?i)\b(keydb|valkey|redis) \d+(\.\d+)+", "ENGINE"),
    (r"\bfor [\d,]+ s\b", "for # s"),
    (r"was started [\d,]+ s ago", "was started # s ago"),
    # A proxy that was told the primary shows its last check of before until the next one, a second later.
    (r"(is UP for # s), last check L7(OK|RSP)", r"\1, last check CHECKED"),
    (r"-> \d+(\.\d+)+", "-> NEWER"),
    (r"; keydb-\d last got .*? a second", ""),
    (r"warning descriptor(-target)? .*?(?=warning|evidence|steps)", ""),
    (r"; about \d+ s at # bytes/s \(its last save or sync\)|; under 1 s \(as its last save or sync took\)", "; RATE"),
    (r"; time unknown \(it never saved or sent its data\)", "; RATE"),
)
"""What differs from run to run, from engine to engine and from machine to machine, and what stands for it."""


def mask(text: str) -> str:
    """A sample's words without what varies; how its lines are broken depends on that as well."""
    words = " ".join(text.split())
    for pattern, instead in VARIES:
        words = re.sub(pattern, instead, words)
    return " ".join(words.split())


def tell(group: Sandbox, page: str) -> Iterator[tuple[Sample, str]]:
    """Go through a page's story in a healthy group; each sample with what its command printed now."""
    settled(group, "")
    for one in read(page):
        if isinstance(one, Event):
            WORLD[one.what](group, one.where)
        else:
            result = run(group, one.command)
            assert "Traceback" not in result.text, result.text
            if one.text:
                yield one, excerpt(group, result)
            else:
                result.ok()


def record(group: Sandbox, path: Path) -> None:
    """Write each sample of a page anew."""
    page = path.read_text()
    lines = page.splitlines()
    # From the end, so that the places before it stay what they are.
    for sample, printed in reversed(list(tell(group, page))):
        lines[sample.begin : sample.end] = [f"{INDENT}{line}".rstrip() for line in printed.splitlines()]
    path.write_text("\n".join(lines) + "\n")


def main(names: list[str]) -> None:
    from keydb_runbooks.connectors.programs import engines

    group = Sandbox(next(iter(engines())))
    group.environment["COLUMNS"] = "80"
    try:
        group.install().ok()
        group.fill(50)
        group.keep_image()
        for name in names:
            group.restore()
            record(group, DOCS / f"{name}.md")
            print(f"recorded: docs/{name}.md")
    finally:
        group.remove()


if __name__ == "__main__":
    main(sys.argv[1:] or list(PAGES))
