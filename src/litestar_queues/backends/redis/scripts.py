"""The scripts: loaded from their files once, and into a server when it does not know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from litestar_queues.backends.redis.failures import is_missing_script
from litestar_queues.backends.redis.keys import tables
from litestar_queues.backends.redis.values import pack, unpack

__all__ = ("SCRIPTS", "Script", "make_script", "parts", "run", "scripts")

SCRIPTS = (
    "claim", "commit", "count", "delete", "enqueue", "find", "find_dispatched", "find_stale", "get", "heartbeat", "lock",
    "next_due", "now", "read_named", "scan", "unlock", "write_named",
)  # fmt: skip
_TABLES = "-- @TABLES@"


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name under which servers keep it."""

    name: str
    text: str
    digest: str


@cache
def parts() -> Mapping[str, str]:
    """What scripts are made of, by the names of the files: `common`, which all begin with, and the rest of each."""
    folder = files("litestar_queues.backends.redis") / "lua"
    read = {name: (folder / f"{name}.lua").read_text(encoding="utf-8") for name in ("common", *SCRIPTS)}
    return MappingProxyType({**read, "common": read["common"].replace(_TABLES, f"{tables()} {_TABLES}")})


@cache
def scripts() -> Mapping[str, Script]:
    """Every script, by the name of its file."""
    read = parts()
    return MappingProxyType({name: make_script(name, read["common"], read[name]) for name in SCRIPTS})


def make_script(name: str, common: str, own: str) -> Script:
    """A script of its own first line, what all have in common, and the rest of its own."""
    first, _, rest = own.partition("\n")
    text = f"{first}\n{common}\n{rest}"
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run(client: Any, script: Script, space: str, asked: Mapping[str, Any]) -> Any:
    """Run a script in one round trip; in a second one where the server does not know it."""
    packed = pack(asked)
    try:
        answer = await client.execute_command("EVALSHA", script.digest, 1, space, packed, NEVER_DECODE=True)
    except Exception as error:
        if not is_missing_script(error):
            raise
        # EVAL teaches it to the very server that lacked it, which may be any of a cluster, or have been restarted.
        answer = await client.execute_command("EVAL", script.text, 1, space, packed, NEVER_DECODE=True)
    return unpack(answer)
