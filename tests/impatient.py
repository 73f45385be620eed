"""``pyinfra``, which gives up a silent machine after 10 s instead of a minute: ``impatient.py ARGUMENTS...``."""

from __future__ import annotations

import sys

# First, since it makes the standard library cooperative.
from pyinfra_cli.main import main

from keydb_runbooks.connectors import pulse

pulse.MISSED_BEATS = 2
sys.exit(main())
