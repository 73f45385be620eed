"""Each refusal of some verbs, word for word: refusals.yaml beside this file is what a person gets to read.

After a change that is meant, ``PYTHONPATH=tests/unit/runbooks python -m tests.unit.runbooks.test_refusals`` writes it
anew; read the difference.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from worlds import group

from keydb_runbooks.runbooks.plan import Answer
from tests.unit.runbooks import (  # whole names: the sandbox has a test_backup too
    test_add_node,
    test_backup,
    test_remove_node,
    test_restore,
    test_rotate,
    test_uninstall,
)

PAGE = Path(__file__).with_name("refusals.yaml")


def _add_node(code: str) -> Answer:
    members, place, changes, _ = test_add_node.REFUSED[code]
    return test_add_node.asked(*members, place=place, **changes)


def _backup(code: str) -> Answer:
    topology, wishes = test_backup.REFUSED[code]
    return test_backup.plan(topology, **wishes)


def _remove_node(code: str) -> Answer:
    members, needed, changes, _ = test_remove_node.REFUSED[code]
    return test_remove_node.plan(group(*members), test_remove_node.replace(test_remove_node.ASKED, **changes), needed)


def _restore(code: str) -> Answer:
    return test_restore.plan(**test_restore.REFUSED[code])


def _rotate(code: str) -> Answer:
    members, roles, taken, _ = test_rotate.REFUSED[code]
    return test_rotate.asked(*members, roles=roles, taken=taken)


def _uninstall(code: str) -> object:
    return test_uninstall.refused(code)


VERBS: dict[str, tuple[dict[str, object], Callable[[str], object]]] = {
    "add_node": (test_add_node.REFUSED, _add_node),
    "backup": (test_backup.REFUSED, _backup),
    "remove_node": (test_remove_node.REFUSED, _remove_node),
    "restore": (test_restore.REFUSED, _restore),
    "rotate": (test_rotate.REFUSED, _rotate),
    "uninstall": (test_uninstall.REFUSED, _uninstall),
}
CASES = [(verb, code) for verb, (codes, _) in VERBS.items() for code in codes]


def told(verb: str, code: str) -> str:
    return str(VERBS[verb][1](code))


@pytest.mark.parametrize("verb, code", CASES)
def test_a_refusal_is_told_word_for_word(verb, code):
    assert told(verb, code) == yaml.safe_load(PAGE.read_text())[verb][code]


if __name__ == "__main__":
    PAGE.write_text(
        yaml.safe_dump(
            {verb: {code: told(verb, code) for code in codes} for verb, (codes, _) in VERBS.items()},
            sort_keys=False,
            width=120,
            allow_unicode=True,
        )
    )
