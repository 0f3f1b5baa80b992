"""Prints what each validator makes of our statements, and of the wrong ones: `python -m oracle_lab`, in `tests`."""

from __future__ import annotations

import sys

from oracle_lab.report import examine

sys.stdout.write("\n".join([*examine().lines(), ""]))
