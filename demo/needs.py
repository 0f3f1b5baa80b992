"""What the demo needs to be installed, looked up before anything starts. Imports the standard library alone."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ("CONFORMANCE", "PACKAGES", "told_what_is_missing")

PACKAGES = ("litestar", "litestar_queues", "sqlspec", "aiosqlite", "uvicorn", "click", "httpx", "rich")
CONFORMANCE = ("pytest", "litestar_queues_conformance", "litestar_queues_matrix")
_INSTALL = "python3 -m pip install -e '.[sqlspec]' -e conformance -e matrix aiosqlite httpx 'litestar[cli]' uvicorn"


def told_what_is_missing(*modules: str) -> str | None:
    """What to do about those of the modules that are not installed; None where all of them are."""
    missing = [module for module in modules if find_spec(module) is None]
    if not missing:
        return None
    return (
        f"The demo needs what is not installed here: {', '.join(missing)}. In the checkout's folder:\n\n"
        f"    {_INSTALL}\n\nor let dev.py do all of it: python3 dev.py demo\n"
    )
