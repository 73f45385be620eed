"""The Kubernetes tier: stories on real pods. ``make test-kubernetes`` runs them, on a cluster of its own or KUBECONFIG's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# With importlib mode pytest adds no folder itself.
ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from tests.kubernetes.group import Group, made  # noqa: E402
from tests.kubernetes.runs import Runs  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    if "KUBECONFIG" not in os.environ:
        raise pytest.UsageError("run these by `make test-kubernetes`, or set KUBECONFIG: they need a cluster")


def pytest_report_header() -> str | None:
    from tests.kubernetes.lab import built

    told = built.missing()
    return f"cluster/Containerfile isn't built: {told}" if told else None


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """Three pods that were made by hand, in a namespace of their own."""
    with made(Group(tmp_path_factory.mktemp("kubernetes"))) as group:
        group.wait()
        yield group


@pytest.fixture
def runs(group: Group) -> Runs:
    """pyinfra on them, who are well, whatever the test before did."""
    runs = Runs(group)
    runs.heal()
    return runs
