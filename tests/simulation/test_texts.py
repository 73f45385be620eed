"""What is remembered of a text is what would be read of it."""

from unittest import mock

from keydb_runbooks.facts import condition, observation
from keydb_runbooks.operations import links
from keydb_runbooks.runbooks.replication import node_from_info
from tests.simulation import texts
from tests.simulation.doors import installed
from tests.simulation.runner import play
from tests.simulation.scripts import script_of


def test_a_remembered_node_is_the_one_that_is_read():
    read = []

    def compared(*arguments):
        node = texts.node(*arguments)
        *whose, info = arguments
        assert node == node_from_info(*whose, str(info))
        read.append(node)
        return node

    with installed():
        patches = [mock.patch.object(module, "node_from_info", compared) for module in (condition, observation, links)]
        with patches[0], patches[1], patches[2]:
            for seed in range(40):
                assert play(script_of(seed)) is None
    assert len(read) > 1000
