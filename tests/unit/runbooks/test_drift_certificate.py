"""Certificates: files that are not what was asked for, what a server goes on showing, and what runs out soon."""

from dataclasses import replace

import pytest

from keydb_runbooks.runbooks.drift_certificate import DAY_SECONDS, Certificates, Shown, ca_drift, certificate_drift
from keydb_runbooks.runbooks.drift_proxy import proxy_drift
from keydb_runbooks.runbooks.drift_server import server_drift
from tests.unit.runbooks.test_drift import conf, front, line  # a whole name: the sandbox has one too

NOW = 1_800_000_000.0
FILES = {"/c": "1", "/k": "2"}
FINE = Certificates("the inventory", FILES, FILES, "f", Shown("f", NOW - 100 * DAY_SECONDS, NOW + 100 * DAY_SECONDS), NOW, in_pod=False)  # fmt: skip
POD = replace(FINE, source="secret/x", in_pod=True)

UNREADABLE = "can't be read; let pyinfra's user read it (_sudo in the inventory)"
KUBELET = "kubelet brings it within two minutes; restart does, if the pod was made with another Secret"
ANOTHER = "warning certificate-not-loaded: shows another certificate than its file has; "
CASES = [
    (FINE, []),
    (POD, []),
    (replace(FINE, wanted={}, found={}, on_disk="", shown=None), []),
    (replace(FINE, found={"/c": "1", "/k": "3"}), ["warning certificate-differs: /k is not as the inventory has it; run install"]),
    (replace(FINE, found={"/c": "", "/k": "3"}), ["warning certificate-differs: /c and /k are not as the inventory has it; run install"]),
    (replace(POD, found={"/c": "1", "/k": "3"}), [f"warning certificate-differs: /k is not as secret/x has it; {KUBELET}"]),
    (replace(FINE, found={"/k": "2"}), [f"unknown certificate-unknown: /c {UNREADABLE}"]),
    (replace(FINE, found={}), [f"unknown certificate-unknown: /c and /k {UNREADABLE}"]),
    (replace(FINE, found={"/k": "3"}), ["warning certificate-differs: /k is not as the inventory has it; run install", f"unknown certificate-unknown: /c {UNREADABLE}"]),
    (replace(FINE, on_disk="g"), [f"{ANOTHER}run restart"]),
    (replace(POD, on_disk="g"), [f"{ANOTHER}run install, which lets it read that again"]),
    (replace(FINE, on_disk=""), []),
    (replace(FINE, on_disk="g", shown=None), []),
]  # fmt: skip


@pytest.mark.parametrize("held, lines", CASES)
def test_files_that_are_other_than_asked_for_and_what_is_shown_are_told(held, lines):
    found = list(certificate_drift("keydb-1", held))
    assert [line(one) for one in found] == lines and {one.where for one in found} <= {"keydb-1"}


def ending(began_days: float, left_days: float) -> list[str]:
    shown = Shown("f", NOW - began_days * DAY_SECONDS, NOW + left_days * DAY_SECONDS)
    found = list(certificate_drift("keydb-1", replace(FINE, shown=shown)))
    assert {one.where for one in found} <= {"keydb-1"}
    return list(map(line, found))


@pytest.mark.parametrize("began, left, when", [
    (365, 14, None),
    (365, 13.9, "in 13 days"),
    (365, 2, "in 2 days"),
    (365, 1.99, "in 47 hours"),
    (365, 1.99 / 47, "in 1 hour"),
    (365, 0.01, "within the hour"),
    (365, -1, "within the hour"),
    # A short one is renewed when a third of its time is left.
    (0.5, 0.5, None),
    (2, 1, None),
    (2.1, 1, "in 24 hours"),
    (26, 13, None),
    (28, 13, "in 13 days"),
])  # fmt: skip
def test_a_certificate_that_runs_out_soon_is_told(began, left, when):
    sentence = "warning certificate-ends: its certificate runs out {}, and nobody trusts it then; get a new one, then run install"
    assert ending(began, left) == ([] if when is None else [sentence.format(when)])


@pytest.mark.parametrize("left, when", [(14, None), (13.99, "in 13 days"), (0.5, "in 12 hours")])
def test_a_ca_that_runs_out_soon_is_told(left, when):
    sentence = "warning ca-ends: the CA of its certificates runs out {}, and nobody trusts them then; docs/tls.md has the way to another one"
    found = list(ca_drift("demo", NOW + left * DAY_SECONDS, NOW))
    assert [line(one) for one in found] == ([] if when is None else [sentence.format(when)])
    assert {one.where for one in found} <= {"demo"}


def test_they_are_told_of_a_server_and_of_a_proxy():
    other = replace(FINE, found={"/c": "1", "/k": "3"})
    told = ["warning certificate-differs: /k is not as the inventory has it; run install"]
    assert [line(one) for one in server_drift(replace(conf(1), certificates=other))] == told
    assert [line(one) for one in proxy_drift(replace(front(), certificates=other), None)] == told
