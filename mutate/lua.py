"""Mutants of Lua scripts: a scanner of words, which keeps to whole conditions, calls and lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mutate.mutant import Edit, Mutant, made

__all__ = ("mutants",)

_TOKEN = re.compile(
    r"(?P<comment>\#![^\n]*|--\[\[.*?\]\]|--[^\n]*)|(?P<text>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\[\[.*?\]\])"
    r"|(?P<number>\d+(?:\.\d+)?)|(?P<word>[A-Za-z_][\w.]*)|(?P<sign>==|~=|<=|>=|\.\.\.|\.\.|[^\s\w])",
    re.DOTALL,
)
_KEYWORDS = frozenset(
    [
        "and",
        "break",
        "do",
        "else",
        "elseif",
        "end",
        "false",
        "for",
        "function",
        "if",
        "in",
        "local",
        "nil",
        "not",
        "or",
        "repeat",
        "return",
        "then",
        "true",
        "until",
        "while",
    ]
)
_COMPARED = {"==": "~=", "~=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_COMPUTED = {"+": "-", "-": "+", "*": "/", "/": "*"}
_WORDS = {
    "and": ("or", "and/or"), "or": ("and", "and/or"), "true": ("false", "constant"), "false": ("true", "constant"),
    "nil": ("false", "constant"), "math.min": ("math.max", "opposite function"),
    "math.max": ("math.min", "opposite function"), "math.floor": ("math.ceil", "opposite function"),
    "math.ceil": ("math.floor", "opposite function"),
}  # fmt: skip
_OPENS, _CLOSES = frozenset("([{"), frozenset(")]}")
_FUNCTION = re.compile(r"^( *)(?:local function (\w+)|(\w+) = function).*?^\1end", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    depth: int
    """How many brackets of any kind are open."""
    first: bool
    """Whether it begins a line."""


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of the script."""
    return made(file, source, _Script(source).edits())


class _Script:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens: list[_Token] = []
        self._functions = [(match.start(), match.end(), match[2] or match[3]) for match in _FUNCTION.finditer(source)]
        depth = 0
        for match in _TOKEN.finditer(source):
            if match.lastgroup == "comment":
                continue
            depth -= match[0] in _CLOSES
            line = source.rfind("\n", 0, match.start()) + 1
            first = not source[line : match.start()].strip()
            self._tokens.append(_Token(match.lastgroup or "", match[0], match.start(), match.end(), depth, first))
            depth += match[0] in _OPENS

    def edits(self) -> Iterator[Edit]:
        yield from self._words()
        yield from self._conditions()
        yield from self._statements()

    def _edit(self, start: int, end: int, new: str, operator: str) -> Edit:
        where = next((name for first, last, name in self._functions if first <= start < last), "the script")
        return Edit(start, end, new, operator, where)

    def _words(self) -> Iterator[Edit]:
        for at, token in enumerate(self._tokens):
            before = self._tokens[at - 1] if at else token
            if token.text in _COMPARED:
                yield self._edit(token.start, token.end, _COMPARED[token.text], "comparison")
            elif token.text in _COMPUTED and _is_value(before):
                yield self._edit(token.start, token.end, _COMPUTED[token.text], "arithmetic")
            elif token.text == "not":
                yield self._edit(token.start, self._tokens[at + 1].start, "", "drop a not")
            elif token.text in _WORDS:
                yield self._edit(token.start, token.end, *_WORDS[token.text])
            elif token.kind == "number":
                number = float(token.text) if "." in token.text else int(token.text)
                for other in (number + 1, number - 1):
                    yield self._edit(token.start, token.end, str(other) if other >= 0 else f"({other})", "constant")

    def _conditions(self) -> Iterator[Edit]:
        """Force each condition, and drop each operand of it that stands between others."""
        for at, token in enumerate(self._tokens):
            closing = {"if": "then", "elseif": "then", "while": "do"}.get(token.text)
            if closing is not None:
                end = next(i for i in range(at, len(self._tokens)) if self._tokens[i].text == closing)
                start, stop = self._tokens[at + 1].start, self._tokens[end - 1].end
                for value in ("true", "false")[token.text == "while" :]:
                    yield self._edit(start, stop, value, "force a condition")
            if token.text in {"and", "or"}:
                end = at + 1
                while end < len(self._tokens) and not self._ends_operand(at, end):
                    end += 1
                new = "true" if token.text == "and" else "false"
                yield self._edit(self._tokens[at + 1].start, self._tokens[end - 1].end, new, "drop a condition")

    def _ends_operand(self, at: int, end: int) -> bool:
        token, depth = self._tokens[end], self._tokens[at].depth
        if token.depth < depth:
            return True
        if token.depth > depth or (token.text in _CLOSES and any(one.depth > depth for one in self._tokens[at:end])):
            return token.text in _CLOSES and token.depth < depth
        if token.text in _CLOSES:
            return not any(one.text in _OPENS and one.depth == depth for one in self._tokens[at:end])
        ends = token.text in {"and", "or", "then", "do", ",", ";", "=", "end", "return", "local", "if", "for"}
        return ends or (token.first and token.kind == "word" and _is_value(self._tokens[end - 1]))

    def _statements(self) -> Iterator[Edit]:
        """Drop calls, assignments and entries of tables that stand on lines of their own."""
        for at, token in enumerate(self._tokens):
            if not token.first or token.kind != "word" or token.text in _KEYWORDS:
                continue
            end = at
            while end + 1 < len(self._tokens) and not (
                self._tokens[end + 1].first and self._tokens[end + 1].depth <= token.depth
                and self._tokens[end + 1].text not in _CLOSES
            ):  # fmt: skip
                end += 1
            while self._tokens[end].depth < token.depth:  # what closes the table around it
                end -= 1
            text = self._source[token.start : self._tokens[end].end]
            if re.search(r"\b(?:then|do|function|else|end)\b", text):
                continue
            if self._tokens[end].text == "," and self._tokens[at + 1].text == "=":
                yield self._edit(token.start, self._tokens[end].end, "", "drop an entry")
            elif self._tokens[end].text != "," and self._is_statement(at, end):
                yield self._edit(token.start, self._tokens[end].end, "do end", "drop a statement")

    def _is_statement(self, at: int, end: int) -> bool:
        before = self._tokens[at - 1] if at else None
        if before is not None and (before.text in _OPENS or before.text in {"and", "or", "=", ".."}):
            return False
        depth = self._tokens[at].depth
        if depth:
            return False
        assigns = any(one.text == "=" and one.depth == depth for one in self._tokens[at : end + 1])
        return assigns or (self._tokens[at + 1].text == "(" and self._tokens[end].text == ")")


def _is_value(token: _Token) -> bool:
    """Whether a sign behind this token is between two operands."""
    if token.kind == "word":
        return token.text not in _KEYWORDS or token.text in {"true", "false", "nil"}
    return token.kind in {"number", "text"} or token.text in _CLOSES
