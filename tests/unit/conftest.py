"""Lets tests of every folder import ``broken_inventories.py`` and ``runbooks/worlds.py``.

With importlib mode pytest adds no folder itself.
"""

import sys
from pathlib import Path

from hypothesis import settings

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent / "runbooks")]

# A busy machine is no failure, and a failing example is printed: nothing is kept between runs.
settings.register_profile("unit", deadline=None, max_examples=60, database=None)
settings.load_profile("unit")
