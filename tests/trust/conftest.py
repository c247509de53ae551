"""The faults that are planted in the rules stand beside the tests of losslessness."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "lossless"))
