"""Looks into built wheels: what the packages read at run time must be in them."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

NEEDED = {
    "litestar_queues-": (
        "litestar_queues/py.typed",
        "pytest_litestar_queues/__init__.py",
        "litestar_queues/backends/sql/sqlite.sql",
        "litestar_queues/backends/redis/lua/common.lua",
    ),
    "litestar_queues_conformance-": (
        "litestar_queues_conformance/py.typed",
        "litestar_queues_conformance/cases/test_key.py",
    ),
}


def main(folder: Path) -> int:
    """Fail, naming it, where something is missing."""
    missing: list[str] = []
    for prefix, files in NEEDED.items():
        wheels = sorted(folder.glob(f"{prefix}*.whl"))
        if not wheels:
            missing.append(f"no wheel {prefix}*.whl")
            continue
        with zipfile.ZipFile(wheels[-1]) as wheel:
            names = set(wheel.namelist())
        missing += [f"{wheels[-1].name} lacks {file}" for file in files if file not in names]
    for line in missing:
        sys.stderr.write(line + "\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
