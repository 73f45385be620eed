"""The fleet tier: stories on machines of their own. ``make test-fleet`` runs them, in namespaces that end with them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# With importlib mode pytest adds no folder itself.
ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tests.fleet.fleet import Fleet  # noqa: E402
from tests.fleet.sampler import Sampler  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    # Where no fleet may be made, its network and its mounts would be those of this machine.
    if "KEYDB_RUNBOOKS_FLEET" not in os.environ:
        raise pytest.UsageError("run these by `make test-fleet`, as root: they need namespaces of their own")
    # The first process of its namespace has no signal that ends it by itself; this one ends all tests, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever needs machines on which nothing was installed comes first, then who switches machines off and on; last
    who looks at what all others left."""

    def turn(item: pytest.Item) -> tuple[bool, bool, bool]:
        needed = getattr(item, "fixturenames", ())
        return "sampled" in needed, "bare" not in needed, "installed" in needed

    items.sort(key=turn)


@pytest.fixture(scope="session", autouse=True)
def sampler() -> Iterator[Sampler]:
    """Who looks at all processes, as long as there are any tests."""
    looking = Sampler()
    yield looking
    looking.stop()


@pytest.fixture
def sampled(sampler: Sampler) -> Sampler:
    """The same, of all tests: whoever asks for it comes last."""
    return sampler


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Five machines that are on, whatever the tests before did to them."""
    made = Fleet(os.environ.get("KEYDB_SANDBOX_ENGINE"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def bare(fleet: Fleet) -> Fleet:
    """The same, on which nothing was installed yet."""
    assert fleet["keydb-1"].shell("ls -d /etc/keydb 2>/dev/null", check=False) == "", "something is installed already"
    return fleet


@pytest.fixture(scope="session")
def exposure_before(fleet: Fleet) -> float:
    """How exposed systemd calls the package's own unit of HAProxy, before install adds to it."""
    return fleet["proxy-1"].exposure("haproxy.service")


@pytest.fixture(scope="session")
def installed(fleet: Fleet, exposure_before: float) -> Fleet:
    """The same with a group on them: keydb-1 is the primary, and tests leave it so."""
    first = fleet.run("install").ok()
    print(f"the first install: {first.seconds:.1f} s")
    return fleet
