"""The sandbox tier: every story on real servers, once for each engine that this machine has."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

# With importlib mode pytest adds no folder itself: this one for the kit, the repository's for demo/.
for folder in (Path(__file__).parent, Path(__file__).parents[2]):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from kit import Sandbox  # noqa: E402

from keydb_runbooks.connectors.programs import engines  # noqa: E402

TURNS = 16
"""Of so many tests one has its turn in CI on each engine but the first, which has all."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``make test`` runs every test on the first engine, ``make test-ci`` on each other one those whose turn it is there.

    ``make test-all`` runs all on all. What doesn't depend on the engine is marked ``first_engine`` and has no turn;
    ``every_engine`` has it everywhere in ``make test`` already, and of ``in_turn`` each row has it on one engine.
    """
    if "engine" in metafunc.fixturenames:
        each = [
            pytest.param(engine, marks=_left_to(metafunc.definition, number)) for number, engine in enumerate(engines())
        ]
        metafunc.parametrize("engine", each, scope="session")


def _left_to(test: pytest.Item, number: int) -> list[pytest.MarkDecorator]:
    """What keeps a test out of ``make test`` on the engine of this number."""
    marked = test.get_closest_marker
    if number == 0 or marked("every_engine") or marked("in_turn"):
        return []
    has_turn = zlib.crc32(test.name.encode()) % TURNS + 1 == number and not marked("first_engine")
    return [pytest.mark.in_ci if has_turn or marked("every_engine_in_ci") else pytest.mark.slow]


@pytest.fixture
def nothing(engine: str) -> Iterator[Sandbox]:
    """A sandbox in which nothing is installed."""
    sandbox = Sandbox(engine)
    try:
        yield sandbox
    finally:
        sandbox.remove()


def _kept(sandbox: Sandbox) -> Iterator[Sandbox]:
    try:
        sandbox.install().ok()
        sandbox.fill(50)
        sandbox.keep_image()
        yield sandbox
    finally:
        sandbox.remove()


def _fresh(founded: Sandbox) -> Iterator[Sandbox]:
    founded.restore()
    try:
        yield founded
    finally:
        founded.kill_all()


@pytest.fixture(scope="session")
def founded(engine: str) -> Iterator[Sandbox]:
    """A group that was installed once, kept as an image."""
    yield from _kept(Sandbox(engine))


@pytest.fixture
def group(founded: Sandbox) -> Iterator[Sandbox]:
    """The founded group, fresh: keydb-1 is the primary, the others follow, and everybody holds some keys."""
    yield from _fresh(founded)


@pytest.fixture(scope="session")
def founded_behind_relays(engine: str) -> Iterator[Sandbox]:
    """The same with a network in it that can be cut and slowed."""
    yield from _kept(Sandbox(engine, relays=True))


@pytest.fixture
def networked(founded_behind_relays: Sandbox) -> Iterator[Sandbox]:
    """The founded group behind its relays, fresh: keydb-1 is the primary, and nothing is cut."""
    yield from _fresh(founded_behind_relays)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rows of a test that is marked ``in_turn`` are shared out among the engines: CI tries each on one."""
    for item in items:
        mark = item.get_closest_marker("in_turn")
        if mark is not None:
            name, values = mark.args
            given = item.callspec.params  # type: ignore[attr-defined]
            turn = list(values).index(given[name]) % len(engines())
            if list(engines()).index(given["engine"]) != turn:
                item.add_marker(pytest.mark.slow)
            elif turn != 0:
                item.add_marker(pytest.mark.in_ci)
