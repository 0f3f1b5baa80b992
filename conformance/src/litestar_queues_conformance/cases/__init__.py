"""The cases, one file for each area of guarantees."""

from __future__ import annotations

from pathlib import Path

__all__ = ("CASES", "FOLDER")

FOLDER = Path(__file__).parent
CASES = {path.stem.removeprefix("test_"): path for path in sorted(FOLDER.glob("test_*.py"))}
"""The file of each area: `test_key.py` for "key"."""
