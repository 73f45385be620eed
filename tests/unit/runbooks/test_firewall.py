"""Who is let in, as nft takes it, and whom that would shut out."""

import pytest

from keydb_runbooks.runbooks.firewall import allowed, shut_out


def test_addresses_and_networks_come_once_and_in_order():
    given = ["10.0.0.12", "10.0.0.9", "10.1.0.0/16", "10.0.0.12", "10.0.0.9/32", "fd00::2", "fd00::/64"]
    assert allowed(given) == (("10.0.0.9", "10.0.0.12", "10.1.0.0/16"), ("fd00::/64", "fd00::2"))
    assert allowed([]) == ((), ())


@pytest.mark.parametrize("wrong", ["keydb-1.example.com", "10.0.0.1/8", "10.0.0.300"])
def test_a_name_or_no_address_is_refused(wrong):
    with pytest.raises(ValueError, match=wrong[:9]):
        allowed([wrong])


# (who is connected, who is let in, who would be shut out)
PEERS = [
    (["10.0.0.2", "10.0.0.3"], ["10.0.0.2"], ("10.0.0.3",)),
    (["10.0.0.2", "::ffff:10.0.0.2", "::ffff:10.0.0.4"], ["10.0.0.0/30"], ("10.0.0.4",)),
    (["127.0.0.1", "::1", "127.0.0.2"], [], ()),
    (["fd00::9", "10.0.0.1", "fd00::9"], ["fd00::/126"], ("10.0.0.1", "fd00::9")),
    ([], ["10.0.0.1"], ()),
]


@pytest.mark.parametrize("peers, let_in, expected", PEERS)
def test_who_is_connected_and_would_be_shut_out_is_told(peers, let_in, expected):
    assert shut_out(peers, let_in) == expected
