"""The API server dies in the middle of a switchover: all links and the Service go through it, and clients do not."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.kubernetes.group import PODS, eventually
from tests.kubernetes.lab.nodes import FIRST
from tests.kubernetes.lab.server import ApiServer
from tests.sandbox.printed import Result

SERVER = ApiServer()
"""It goes on behind the last of these tests."""

ENDS = ("done", "nothing to do", "refused", "failed and unchanged", "failed and incomplete")


def which_end(of: Result) -> str:
    """Which of the ends that a run may have it had, "" if it had another."""
    told = [end for end in ENDS if re.search(rf"^\s*{end}\b", of.text, re.MULTILINE)]
    return told[0] if told and "Traceback" not in of.text else ""


@pytest.fixture(scope="module")
def server() -> ApiServer:
    if not FIRST.home.exists():
        pytest.skip("the API server of KUBECONFIG's cluster is left alone: this needs the lab's own")
    return SERVER


# In front of which step it is killed, and whether it is back before the run goes on.
MOMENTS = [
    ("Promote", False),
    ("Promote", True),
    ("MoveService", False),
    ("MoveService", True),
    ("EndStragglers", True),
]


@pytest.mark.slow
@pytest.mark.parametrize("step, is_back", MOMENTS)
def test_a_switchover_without_its_api_server_ends_by_itself_and_the_same_again_finishes_it(
    runs, server: ApiServer, tmp_path: Path, step: str, is_back: bool
):
    former = runs.primary()
    target = next(pod for pod in PODS if pod != former)

    def strike() -> None:
        server.stop()
        if is_back:
            server.start()

    with runs.writing(clients=2, patience_seconds=20) as writer:
        eventually(lambda: writer.acknowledged() > 150, "there is something to lose", 60)
        try:
            ended = runs.struck_before(step, "switchover", tmp_path, strike, to=target)
        finally:
            if not is_back:
                server.start()
        assert which_end(ended), ended.text
        print(f"{step}, {'back at once' if is_back else 'away'}: {which_end(ended)}")
        # Behind its return the cluster's controllers take a while until they follow the Service again.
        again = [runs.run("switchover", to=target)]
        while again[-1].code and len(again) < 6:
            assert which_end(again[-1]), again[-1].text
            time.sleep(3)
            again.append(runs.run("switchover", to=target))
        print(f"then {', '.join(which_end(one) for one in again)}")
        assert which_end(again[-1]) in ("done", "nothing to do"), again[-1].text
        writer.goes_on(60)
        assert writer.lost(tmp_path) == 0, ended.text
    assert runs.primary() == runs.service_leads_to() == target
    eventually(lambda: runs.findings() == [], "the group is well", 60)
