"""The simulation is imported as ``tests.simulation``, whichever way pytest was started."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # With importlib mode pytest adds no folder itself.
    sys.path.append(ROOT)
