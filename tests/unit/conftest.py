"""Lets tests of every folder import ``runbooks/worlds.py``; with importlib mode pytest adds no folder itself."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "runbooks"))
