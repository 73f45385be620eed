"""What apt is told of the inventory's repository."""

import pytest

from keydb_runbooks.operations.packages import sources

SIGNED = "Signed-By: /etc/apt/keyrings/keydb-runbooks.asc\n"
HEAD = "# Written by keydb-runbooks\nTypes: deb\n"
# (as the inventory has it, apt's file)
REPOSITORIES = [
    (
        "https://apt.example bookworm main extra",
        f"{HEAD}URIs: https://apt.example\nSuites: bookworm\nComponents: main extra\n{SIGNED}",
    ),
    ("file:/srv/repository ./", f"{HEAD}URIs: file:/srv/repository\nSuites: ./\n{SIGNED}"),
]


@pytest.mark.parametrize("given, text", REPOSITORIES)
def test_a_repository_as_apt_reads_it(given, text):
    assert sources(given) == text
