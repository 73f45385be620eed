"""Two groups of one inventory, each behind proxies of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.group import eventually, made
from tests.kubernetes.runs import Result
from tests.kubernetes.test_proxies import Proxied, ProxiedRuns

INVENTORY = "tests/kubernetes/two_inventory.py"


class Two(ProxiedRuns):
    def pyinfra(self, *arguments: str, inventory: str = INVENTORY, **environment: str) -> Result:
        return super().pyinfra(*arguments, inventory=inventory, **environment)

    def seen(self) -> dict[str, dict[str, Any]]:
        """What status tells of each group."""
        return {name: self.told("status", group=name) for name in ("keydb", "other")}

    def told(self, verb: str, environment: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
        import json

        text = self.run(verb, environment=environment, format="json", **data).text
        assert "\n{" in text, text
        (told,) = json.JSONDecoder().raw_decode(text[text.index("\n{") + 1 :])[0]["groups"]
        return dict(told)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with made(Proxied(tmp_path_factory.mktemp("two"))) as group:
        yield Two(group)


def primaries(seen: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    return {name: [node["name"] for node in told["nodes"] if node["role"] == "primary"] for name, told in seen.items()}


@pytest.mark.slow
def test_two_groups_behind_proxies_are_installed_together_and_moved_apart(runs):
    text = runs.run("install").ok().text
    assert "keydb-0 is the primary of keydb" in text and "other-0 is the primary of other" in text
    well = lambda: all(told["findings"] == [] for told in runs.seen().values())  # noqa: E731
    eventually(well, "both groups are well", 60)
    seen = runs.seen()
    assert primaries(seen) == {"keydb": ["keydb-0"], "other": ["other-0"]}
    for name, told in seen.items():
        assert {proxy["name"].rpartition("-proxy-")[0] for proxy in told["proxies"]} == {name}
        assert len(told["proxies"]) == 2
    assert runs.run("install").ok().total()[1:3] == (0, 0), "again changes nothing"
    runs.run("switchover", group="other", to="other-1").ok()
    eventually(well, "both groups are well", 60)
    assert primaries(runs.seen()) == {"keydb": ["keydb-0"], "other": ["other-1"]}
    runs.run("drift", group="keydb").ok()
    runs.run("drift", group="other").ok()
