"""Lets tests of every folder import ``broken_inventories.py``, ``runbooks/worlds.py`` and each other by whole names.

With importlib mode pytest adds no folder itself.
"""

import sys
from pathlib import Path

from hypothesis import settings

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE / "runbooks"), str(HERE.parents[1])]

# A busy machine is no failure, and a failing example is printed: nothing is kept between runs.
settings.register_profile("unit", deadline=None, max_examples=60, database=None)
settings.load_profile("unit")
