"""Every code of a refusal is made by a test with real servers, or stands here with the reason why it can't be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from keydb_runbooks.runbooks.checks import CHECKS, Severity
from keydb_runbooks.runbooks.kinds import HINTS

ROOT = Path(__file__).parents[2]
SANDBOX = list((ROOT / "tests" / "sandbox").rglob("*.py"))
OTHER_TIERS = [path for folder in ("kubernetes", "fleet") for path in (ROOT / "tests" / folder).rglob("*.py")]

WITHOUT_A_STATE = {
    "target-not-whole": "a full resync of a sandbox's data is over before anything can be cut off in its middle",
    "unknown-first-primary": "the inventory's own check refuses such a name before a plan is made",
    "node-unreachable-host": "every host of a sandbox is this machine; the rows of tests/unit/runbooks have it",
    "proxy-unreachable-host": "every host of a sandbox is this machine; the rows of tests/unit/runbooks have it",
    "node-forwarding-forbidden": "one sshd stands for all nodes there, so that nobody answers; its sentence is tested",
    "proxy-came-later": "no proxy of a sandbox is a pod; tests/unit/test_pod_proxies.py has it",
    "proxy-not-listed": "no proxy of a sandbox is a pod; tests/unit/test_pod_proxies.py has it",
    "proxy-forwarding-forbidden": "no proxy of a sandbox is a pod; tests/unit/test_pod_proxies.py has it",
    "node-no-link": "it takes a connector of pyinfra that offers no link, chroot or docker for instance",
    "node-loading": "a server that loads its data answers INFO, and is refused as loading",
    "node-not-permitted": "kinds name it first: not-permitted",
    "node-command-missing": "kinds name it first: command-missing",
    "users-unknown": "kinds name it first: not-permitted",
    "no-room": "it takes a file system that is nearly full; tests/sandbox/test_rejoin.py meets a full one while it saves",
    "acl-file": "it takes a server whose users have a file of their own; the rows of tests/unit/runbooks have it",
    "resync-running": "a full resync of a sandbox's data is over within a tenth of a second",
    "several-versions": "all nodes of a sandbox have one program",
    "last-node": "every sandbox has three nodes; the rows of tests/unit/runbooks have it",
    "mixed": "it takes a group of which somebody made one half by hand; the rows of tests/unit/runbooks have it",
    "pods-unread": "it takes pods; tests/kubernetes/test_other_verbs.py has it",
    "owned-by-controller": "it takes pods that an operator made; tests/unit/test_made.py has it",
    "label-mover": "it takes pods that somebody else's chart made; the rows of tests/unit/runbooks/test_made.py have it",
    "kind-unknown": "it takes a server that dies between two commands of one look",
}


def calls(paths: list[Path], *names: str) -> Iterator[ast.Call]:
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in names:
                    yield node


def first_words(name: str, *folders: str) -> set[str]:
    """The codes that are given to a class as words."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {
        call.args[0].value
        for call in calls(paths, name)
        if call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
    }


def codes() -> set[str]:
    """All that a refusal of runbooks/ can be called."""
    found = first_words("Refusal", "runbooks") | set(HINTS)
    found |= {row.code for row in CHECKS if Severity.ERROR in (row.switchover, row.failover)}
    runbooks = sorted((ROOT / "runbooks").rglob("*.py"))
    for path in runbooks:
        for node in ast.walk(ast.parse(path.read_text())):
            # `code = "unrelated"` and `told, code = f"...", "diverged"`
            if isinstance(node, ast.Assign):
                found |= set(assigned(node.targets[0], node.value))
    for call in calls(runbooks, "Refusal"):
        if isinstance(call.args[0], ast.JoinedStr):
            prefix = str(getattr(call.args[0].values[0], "value", ""))
            raised = first_words("LinkError", "connectors") if prefix == "node-" else proxy_codes()
            found |= {f"{prefix}{code}" for code in raised}
    return found


def proxy_codes() -> set[str]:
    pods = {"came-later", "not-listed", "forwarding-forbidden"}
    return first_words("RuntimeSocketError", "connectors") | {"no-backend"} | pods


def assigned(target: ast.expr, value: ast.expr) -> Iterator[str]:
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = list(zip(target.elts, value.elts, strict=True))
    for one, given in pairs:
        if getattr(one, "id", "") == "code" and isinstance(given, ast.Constant) and isinstance(given.value, str):
            yield given.value


def texts() -> set[str]:
    """What sandbox tests expect: every text of theirs, without what is only said."""
    found = set()
    for path in (*SANDBOX, *OTHER_TIERS):
        tree = ast.parse(path.read_text())
        said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
        }
    return found


def made(code: str, expected: set[str]) -> bool:
    """Whether a text is the code, or begins with it or with ``refused: CODE``."""
    return any(re.match(rf"(refused: )?{re.escape(code)}(?![\w-])", text) for text in expected)


def test_every_code_is_made_from_a_real_state_or_has_a_reason() -> None:
    expected = texts()
    there = codes()
    assert {"no-primary", "diverged", "not-fenced", "node-refused", "proxy-refused", "too-old", "disk-full"} <= there
    missing = {code for code in there if not made(code, expected)} - set(WITHOUT_A_STATE)
    assert not missing, "add a case to tests/sandbox/test_refusal_codes.py, or a reason here"


def test_no_reason_outlives_its_code() -> None:
    assert set(WITHOUT_A_STATE) <= codes()
