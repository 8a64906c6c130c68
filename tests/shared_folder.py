"""Where real histories and cases lie beside the checkout; tests that need them skip loudly where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

SHARED = Path(os.environ.get("ROWPICK_SHARED", Path(__file__).parents[2] / "shared"))
