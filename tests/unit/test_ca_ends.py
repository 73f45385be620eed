"""When what everybody trusts runs out, as drift reads it."""

import time
from types import SimpleNamespace

import pytest

from keydb_runbooks.connectors.certificates import LIFETIME, kept_certificates
from keydb_runbooks.operations.certificates import ca_ends, of_authority


def group(ca: str) -> SimpleNamespace:
    return SimpleNamespace(name="demo", nodes=[SimpleNamespace(data={"keydb_tls_ca": ca}.get)])


@pytest.mark.parametrize("key", ["keydb_tls_ca", "keydb_tls_certificate"])
def test_a_certificate_that_is_trusted_need_not_be_a_cas(tmp_path, key):
    path = kept_certificates(tmp_path / "made", ["127.0.0.1"])[key]
    assert ca_ends(path) == pytest.approx(time.time() + LIFETIME.total_seconds(), abs=7200)
    assert of_authority(group(path)) == ()


def test_a_file_that_tells_no_end_is_told(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (found,) = of_authority(group(str(path)))
    assert (found.code, found.where) == ("certificate-unknown", "demo") and str(path) in found.sentence
