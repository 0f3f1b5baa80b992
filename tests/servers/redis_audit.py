"""Whether everything that is stored under a prefix fits together, read without the scripts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from acceptance.redis_database import RedisDatabase

from litestar_queues_matrix.servers import resp

_NEVER = "0000-00-00T00:00:00.000000"
_UNSTARTED = ("pending", "scheduled", "dispatched")
_ACTIVE = (*_UNSTARTED, "running")
_BY_TIME = ("ids", "dispatched", "running", "finished", "expiring", "expiring_dispatched", "parked")


def audit(database: RedisDatabase) -> None:
    """Compare every index, count and key with the tasks' hashes; and say what else there is.

    A pending task that a claim found overdue is put aside: it stands in `parked` instead of `ready`.
    """
    rows = database.rows()
    space = f"{{{database.prefix}}}:"
    with resp.connected(database.url) as command:
        keys = sorted(key.decode().removeprefix(space) for key in command("KEYS", f"{space}*"))

        def members(name: str) -> list[str]:
            return [member.decode() for member in command("ZRANGE", space + name, 0, -1)]

        def mapping(name: str) -> dict[str, str]:
            flat = [part.decode() for part in command("HGETALL", space + name)]
            return dict(zip(flat[::2], flat[1::2], strict=True))

        sets = {key: members(key) for key in keys if _is_set(key)}
        counts, holders = mapping("counts"), mapping("keys")
    parked = sets.get("parked", [])
    assert sets == {key: list_ for key, list_ in _expected(rows, parked).items() if list_}
    assert counts == {
        f"{s}:{q}": str(n) for (s, q), n in Counter((r["state"], r["queue"]) for r in rows.values()).items()
    }
    assert holders == {r["key"]: id_ for id_, r in rows.items() if r["key"] and r["state"] in _ACTIVE}
    known = {*sets, "counts", "keys", "backends", "locks", *(f"task:{id_}" for id_ in rows)}
    assert [key for key in keys if key not in known and not key.startswith("claim:")] == []


def _is_set(key: str) -> bool:
    return key in _BY_TIME or key.startswith(("ready:", "later:", "heads:"))


def _expected(rows: dict[str, dict[str, Any]], parked: list[str]) -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {"parked": parked}

    def put(key: str, member: str) -> None:
        sets.setdefault(key, []).append(member)

    for id_, row in rows.items():
        order, due = f"{2**31 - 1 - row['priority']:010d}", row["due_at"]
        lane = f"{len(row['execution_backend'].encode())}:{row['execution_backend']}:{row['queue']}"
        put("ids", row["created_at"] + id_)
        aside = f"{row['expires_at']}{id_}"
        match row["state"]:
            case "pending" if aside not in parked:
                put(f"ready:{lane}", order + due + id_)
            case "scheduled":
                put(f"later:{lane}", due + order + id_)
            case "dispatched" | "running":
                put(row["state"], (row["heartbeat_at"] or _NEVER) + id_)
            case "completed" | "failed" | "cancelled" | "expired":
                put("finished", row["finished_at"] + id_)
        if row["expires_at"] and row["state"] in _UNSTARTED:
            put("expiring_dispatched" if row["state"] == "dispatched" else "expiring", aside)
    for key in [key for key in sets if key.startswith(("ready:", "later:"))]:
        kind, length, rest = key.split(":", 2)
        backend, queue = rest.encode()[: int(length)].decode(), rest.encode()[int(length) + 1 :].decode()
        put(f"heads:{kind}:{backend}", min(sets[key], key=str.encode) + "\0" + queue)
    return {key: sorted(list_, key=str.encode) for key, list_ in sets.items()}
