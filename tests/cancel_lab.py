"""Cancelled calls, in a process of their own: a crash counts."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from waiting import DEADLINE

__all__ = ("cancel_everywhere",)

_PROGRAM = Path(__file__).parent / "cancel_program.py"


async def cancel_everywhere(target: str, config: dict[str, Any]) -> None:
    """Cancel each method of a backend at each step, and fail where the process is not well afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "faulthandler", _PROGRAM, target, json.dumps(config),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(4 * DEADLINE):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"exit {process.returncode}:\n{told.decode()}"
