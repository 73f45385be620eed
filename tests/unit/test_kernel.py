"""Which of the kernel's settings a server would warn of, and the file that sets them."""

import pytest

from keydb_runbooks.operations.kernel import CONNECTIONS, OVERCOMMIT, lacking, text


@pytest.mark.parametrize(
    ("overcommit", "connections", "names"),
    [
        (0, 511, [OVERCOMMIT]),
        (1, 510, [CONNECTIONS]),
        (2, 65535, []),
        (0, 128, [OVERCOMMIT, CONNECTIONS]),
    ],
)
def test_what_a_server_warns_of_is_lacking(overcommit, connections, names):
    values = {OVERCOMMIT: overcommit, CONNECTIONS: connections}
    seen = {name: {"value": value, "writable": True, "kept": False} for name, value in values.items()}
    assert list(lacking(seen)) == names


def test_a_kernel_without_a_setting_lacks_nothing():
    assert list(lacking({})) == []


def test_the_file_says_whose_it_is():
    first, *settings = text({OVERCOMMIT: 1, CONNECTIONS: 4096}).splitlines()
    assert first.startswith("# Written by keydb-runbooks")
    assert settings == ["vm.overcommit_memory = 1", "net.core.somaxconn = 4096"]
