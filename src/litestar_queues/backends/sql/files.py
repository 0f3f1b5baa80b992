"""Files of statements: their parts, and the columns that a model names otherwise.

`-- name: claim` begins a statement, and `-- fragment: due` a part that statements share by `/* include: due */`. What is
filled in later stands as `/* slot: columns */`. Keywords are in capitals and columns in small letters. The batches `c`, `h`
and `n` have fields that are named like columns; every other row set uses a column's own name for a column, or `item`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ("TABLE", "filled", "open_slots", "parsed", "renamed")

TABLE = "litestar_queue_task"
"""The table's name in the files of statements, and where nothing else is configured."""

_PART = re.compile(r"^-- (name|fragment): (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_INCLUDE = re.compile(r"/\* include: (\w+) \*/")
_SLOT = re.compile(r"( ?)/\* slot: (\w+) \*/")
_ABOUT_TASKS = re.compile(rf"\b{TABLE}\b")
_WORD = re.compile(
    r"'[^']*'|(?<![\w:])(?P<of>\w+\.)?(?P<quote>`?)(?P<name>[a-z_]+)(?P=quote)(?P<down> DESC\b)?(?![\w`.])"
)
_BATCHES = ("c.", "h.", "n.")


def parsed(path: Path) -> dict[str, str]:
    """The statements of a file by name, each with its fragments; the slots are still open."""
    _, *parts = _PART.split(path.read_text(encoding="utf-8"))
    found = {
        kind: {
            name: _COMMENT.sub("", text).strip()
            for one, name, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
            if one == kind
        }
        for kind in ("name", "fragment")
    }

    def whole(text: str) -> str:
        return _INCLUDE.sub(lambda include: whole(found["fragment"][include[1]]), text)

    return {name: whole(text) for name, text in found["name"].items()}


def open_slots(text: str) -> frozenset[str]:
    """The names of the slots of a statement."""
    return frozenset(slot[2] for slot in _SLOT.finditer(text))


def filled(text: str, slots: Mapping[str, str]) -> str:
    """The statement with its slots filled; an empty one takes the space before it along."""
    return _SLOT.sub(lambda slot: slots[slot[2]] and f"{slot[1]}{slots[slot[2]]}", text)


def renamed(text: str, columns: Mapping[str, str]) -> str:
    """The statement with other columns: fill in lists of columns afterwards, which have their names already.

    Args:
        text: A statement of a file.
        columns: What each column is called, as it is written in a statement. For `priority`, it is one that rises where
            the priority falls: the order is upwards.
    """
    if _ABOUT_TASKS.search(text) is None:  # the columns of the locks are nobody else's
        return text

    def column(word: re.Match[str]) -> str:
        of, name, down = (word[group] or "" for group in ("of", "name", "down"))
        if name not in columns or of in _BATCHES:
            return word[0]
        return f"{of}{columns[name]}{'' if name == 'priority' else down}"

    return _WORD.sub(column, text)
