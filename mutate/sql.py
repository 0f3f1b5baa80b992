"""Mutants of the files of statements: a scanner of words, and a rule for each kind of clause.

The statements of a file are mutated before its slots are filled, so that what a family fills in stays as it is. The
statements of the schema are left alone: an index changes how long a statement takes, and no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mutate.mutant import Edit, Mutant, made

__all__ = ("mutants",)

_PART = re.compile(r"^-- (?:name|fragment): (\w+)\n", re.MULTILINE)
_TOKEN = re.compile(
    r"(?P<comment>--[^\n]*)|(?P<slot>/\*.*?\*/)|(?P<text>'[^']*'|\"[^\"]*\"|`[^`]*`)|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<word>:?[A-Za-z_]\w*(?:\.\w+)?)|(?P<sign><=|>=|<>|!=|->>?|\|\||::|[^\s\w])",
    re.DOTALL,
)
_SCHEMA = re.compile(
    r"create_|rebuild_|add_column|drop_column|existing|check_schema|version|schema|record_version|widen_|lock_schema"
)
_COMPARED = {"=": "<>", "<>": "=", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_COMPUTED = {"+": "-", "-": "+", "*": "/"}
_OPPOSITE = {"min": "max", "max": "min", "greatest": "least", "least": "greatest"}
_KIN = (
    ("due_at", "expires_at", "heartbeat_at", "started_at", "finished_at", "created_at"),
    ("attempt", "fence", "priority"),
    ("queue", "execution_backend"),
)
"""Columns that can stand in each other's place."""
_BATCHES = frozenset("chnq")
"""Names of batches, whose fields are not those of the table."""
_OTHER = {name: kin[(place + 1) % len(kin)] for kin in _KIN for place, name in enumerate(kin)}
_STOPS = frozenset(
    [
        "AND",
        "OR",
        "WHERE",
        "ON",
        "SET",
        "SELECT",
        "FROM",
        "JOIN",
        "CROSS",
        "LEFT",
        "INNER",
        "ORDER",
        "GROUP",
        "LIMIT",
        "FETCH",
        "RETURNING",
        "UNION",
        "FOR",
        "USING",
        "VALUES",
        "HAVING",
        "WHEN",
        "THEN",
        "ELSE",
        "END",
        ",",
        ";",
    ]
)
"""What ends a condition that began outside of it."""
_BEGINS = frozenset({"WHERE", "ON", "AND", "OR", "WHEN", "HAVING", "("})
_LOCKS = re.compile(r"/\* slot: (skip_locked\w*|unclaimed|under_fence|free_only\w*) \*/")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    depth: int


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of the statements that work with tasks."""
    return made(file, source, _edits(source))


def _edits(source: str) -> Iterator[Edit]:
    parts = list(_PART.finditer(source))
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        if not _SCHEMA.match(part[1]):
            end = len(source) if following is None else following.start()
            yield from _Part(part[1], source, part.end(), end).edits()


class _Part:
    """A statement or a fragment."""

    def __init__(self, name: str, source: str, start: int, end: int) -> None:
        self._name = name
        self._source = source
        self._tokens: list[_Token] = []
        depth = 0
        for match in _TOKEN.finditer(source, start, end):
            text, kind = match[0], match.lastgroup or ""
            if kind == "comment":
                continue
            depth -= text == ")"
            self._tokens.append(_Token(kind, text, match.start(), match.end(), depth))
            depth += text == "("

    def edits(self) -> Iterator[Edit]:
        yield from self._words()
        yield from self._conditions()
        yield from self._assignments()
        yield from self._orders()
        yield from self._arguments()

    def _edit(self, start: int, end: int, new: str, operator: str) -> Edit:
        return Edit(start, end, new, operator, self._name)

    def _replace(self, token: _Token, new: str, operator: str) -> Edit:
        return self._edit(token.start, token.end, new, operator)

    def _text(self, place: int) -> str:
        """The text of a token in capitals; nothing beyond the ends."""
        return self._tokens[place].text.upper() if 0 <= place < len(self._tokens) else ""

    def _until(self, place: int, stops: frozenset[str]) -> int:
        """The place of the first token from there on that ends what began there, at its own depth."""
        depth, cases = self._tokens[place].depth, 0
        for at in range(place, len(self._tokens)):
            token = self._tokens[at]
            if token.depth < depth or (token.text == ")" and token.depth == depth and not self._opens(place, at)):
                return at
            if token.depth == depth:
                word = token.text.upper()
                if cases == 0 and (word in stops or _LOCKS.fullmatch(token.text) or "slot: onupdate" in token.text):
                    return at
                cases += (word == "CASE") - (word == "END" and cases > 0)
        return len(self._tokens)

    def _opens(self, first: int, at: int) -> bool:
        """Whether a bracket that closes at this place was opened from the first one on."""
        depth = self._tokens[at].depth
        return any(self._tokens[i].text == "(" and self._tokens[i].depth == depth for i in range(first, at))

    def _words(self) -> Iterator[Edit]:
        for at, token in enumerate(self._tokens):
            word, before, after = token.text.upper(), self._text(at - 1), self._text(at + 1)
            if token.text in _COMPARED and not self._assigns(at):
                yield self._replace(token, _COMPARED[token.text], "comparison")
            elif token.text in _COMPUTED and (before == ")" or self._tokens[at - 1].kind in {"word", "number"}):
                if before not in _STOPS and before not in {"SELECT", "(", "DISTINCT"} and after not in {")", ","}:
                    yield self._replace(token, _COMPUTED[token.text], "arithmetic")
            elif word in {"AND", "OR"} and not self._is_between(at):
                yield self._replace(token, "OR" if word == "AND" else "AND", "and/or")
            elif word == "NULL" and before == "IS":
                yield self._replace(token, "NOT NULL", "null test")
            elif word == "NOT" and before == "IS":
                yield self._edit(token.start, self._tokens[at + 1].start, "", "null test")
            elif word == "NOT" and after in {"IN", "EXISTS"}:
                yield self._edit(token.start, self._tokens[at + 1].start, "", "drop a not")
            elif word == "IN" and after == "(" and before != "NOT":
                yield self._replace(token, "NOT IN", "add a not")
                yield from self._elements(at + 2)
            elif word == "EXISTS" and before != "NOT":
                yield self._replace(token, "NOT EXISTS", "add a not")
            elif token.kind == "number" and before != "SELECT" and "." not in token.text:
                for other in (int(token.text) + 1, int(token.text) - 1):
                    yield self._replace(token, str(other), "constant")
            elif word in {"TRUE", "FALSE"}:
                yield self._replace(token, "false" if word == "TRUE" else "true", "constant")
            elif token.text in _OPPOSITE and after == "(":
                yield self._replace(token, _OPPOSITE[token.text], "opposite function")
            elif word == "SKIP" and after == "LOCKED":
                yield self._edit(token.start, self._tokens[at + 1].end, "", "drop a lock")
            elif word == "FOR" and after == "UPDATE":
                end = self._until(at + 1, frozenset({"RETURNING", "UNION", ";"}))
                yield self._edit(token.start, self._tokens[end - 1].end, "", "drop a lock")
            elif _LOCKS.fullmatch(token.text):
                yield self._replace(token, "", "drop a lock")
            elif token.kind == "word" and after != "(":
                of, dot, name = token.text.rpartition(".")
                if name in _OTHER and of not in _BATCHES:
                    yield self._replace(token, f"{of}{dot}{_OTHER[name]}", "another column")

    def _is_between(self, at: int) -> bool:
        depth = self._tokens[at].depth
        for one in reversed(self._tokens[:at]):
            if one.depth < depth or (one.depth == depth and one.text.upper() in {"AND", "OR", "WHERE", "ON"}):
                return False
            if one.depth == depth and one.text.upper() == "BETWEEN":
                return True
        return False

    def _elements(self, first: int) -> Iterator[Edit]:
        """Drop each text of a list of several."""
        places: list[int] = []
        for at in range(first, len(self._tokens), 2):
            if self._tokens[at].kind != "text":
                return
            places.append(at)
            if self._text(at + 1) != ",":
                break
        if len(places) > 1:
            for at in places[:-1]:
                yield self._edit(self._tokens[at].start, self._tokens[at + 2].start, "", "drop an element")
            yield self._edit(self._tokens[places[-2]].end, self._tokens[places[-1]].end, "", "drop an element")

    def _conditions(self) -> Iterator[Edit]:
        """Replace each operand of AND and OR, and each whole WHERE, by what has no effect beside the others."""
        for at in range(-1, len(self._tokens) - 1):
            before = self._text(at)
            if at >= 0 and before not in _BEGINS:
                continue
            first = self._tokens[at + 1]
            if (
                first.text == ")"
                or (before == "ON" and self._text(at + 1) == "CONFLICT")
                or self._is_between(max(at, 0))
            ):
                continue
            end = self._until(at + 1, _STOPS)
            by = {before, self._text(end)} & {"AND", "OR"}
            if not by and before not in {"WHERE", "ON", "HAVING"}:
                continue
            new = "false" if "OR" in by and "AND" not in by else "true"
            yield self._edit(first.start, self._tokens[end - 1].end, new, "drop a condition")

    def _assigns(self, at: int) -> bool:
        """Whether an equals sign stores something in a column."""
        if self._text(at) != "=" or self._tokens[at - 1].kind != "word":
            return False
        before = self._text(at - 2)
        if before in {"", "SET"}:
            return before == "SET" or any(token.text == "," and token.depth == 0 for token in self._tokens)
        if before != ",":
            return False
        depth = self._tokens[at].depth
        for one in reversed(self._tokens[: at - 2]):
            if one.depth == depth and one.text.upper() in {"SET", "SELECT", "FROM", "WHERE", "VALUES", "BY"}:
                return one.text.upper() == "SET"
        return depth == 0

    def _assignments(self) -> Iterator[Edit]:
        for at in range(1, len(self._tokens) - 1):
            if self._assigns(at):
                end = self._until(at + 1, _STOPS)
                if self._text(end) == ",":
                    yield self._edit(self._tokens[at - 1].start, self._tokens[end + 1].start, "", "drop an assignment")
                elif self._text(at - 2) == ",":
                    yield self._edit(self._tokens[at - 2].start, self._tokens[end - 1].end, "", "drop an assignment")

    def _orders(self) -> Iterator[Edit]:
        for at in range(len(self._tokens)):
            word = self._text(at)
            if word == "BY" and self._text(at - 1) == "ORDER":
                items = self._items(at + 1, _STOPS - {","})
                for first, end in items:
                    last = self._tokens[end - 1]
                    if last.text.upper() == "DESC":
                        yield self._edit(self._tokens[end - 2].end, last.end, "", "order")
                    elif last.text.upper() != "ASC":
                        yield self._edit(last.end, last.end, " DESC", "order")
                    if len(items) > 1 and self._text(end) == ",":
                        yield self._edit(
                            self._tokens[first].start, self._tokens[end + 1].start, "", "drop from the order"
                        )
                    elif len(items) > 1:
                        yield self._edit(self._tokens[first - 1].start, last.end, "", "drop from the order")
            elif word == "LIMIT":
                end = self._until(at + 1, _STOPS)
                last = self._tokens[end - 1]
                yield self._edit(last.end, last.end, " + 1", "limit")
                yield self._edit(self._tokens[at].start, last.end, "", "limit")

    def _arguments(self) -> Iterator[Edit]:
        """Of coalesce, take one argument for the whole."""
        for at in range(len(self._tokens) - 1):
            if self._text(at) == "COALESCE" and self._text(at + 1) == "(":
                items = self._items(at + 2, frozenset())
                if items:
                    close = self._tokens[items[-1][1]]
                    for first, end in items:
                        text = self._source[self._tokens[first].start : self._tokens[end - 1].end]
                        yield self._edit(self._tokens[at].start, close.end, f"({text})", "one of the arguments")

    def _items(self, first: int, stops: frozenset[str]) -> Sequence[tuple[int, int]]:
        """The places at which items begin and end that commas part."""
        items: list[tuple[int, int]] = []
        while first < len(self._tokens):
            end = self._until(first, stops | {","})
            items.append((first, end))
            if self._text(end) != ",":
                break
            first = end + 1
        return items
