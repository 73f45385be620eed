"""pyinfra's settings for every run that is started from this folder."""

from pyinfra import config

from keydb_runbooks.operations import beginning

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"
# A machine that is off costs this once, in seconds.
config.CONNECT_TIMEOUT = 2
# pyinfra would go on without an inventory, and end with 0.
beginning.begin()
