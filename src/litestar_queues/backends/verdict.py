"""What the errors of a store mean to a caller: four verdicts, and the tables that give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

__all__ = ("Code", "Verdict", "Verdicts", "codes")

Code = int | str


class Verdict(Enum):
    """What a caller can do about an error. An error without a verdict is unknown."""

    CONFLICT = "conflict"
    """Another transaction got in the way, nothing was stored, and the whole can be tried again at once."""
    LOST = "lost"
    """The connection ended, and nobody knows what was stored."""
    FOR_NOW = "refused for now"
    """Nothing was stored, and the same may be stored later: the store recovers, or an operator changes something."""
    FOR_GOOD = "refused for good"
    """Nothing was stored, and the same will never be, because of what it is."""


_SQLSTATE = re.compile(r"[0-9A-Z]{5}")


def codes(**by_verdict: tuple[Code, ...]) -> dict[Code, Verdict]:
    """A table from lists of codes, each under the name of its verdict in small letters."""
    return {code: Verdict[name.upper()] for name, listed in by_verdict.items() for code in listed}


def _no_code(_error: BaseException) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The errors of one kind of store, and the verdict on each.

    Attributes:
        codes: By the store's own codes: SQLSTATEs, numbers, prefixes. Two characters stand for a class of SQLSTATEs; an
            entry for the whole code comes first.
        names: By the classes of errors of drivers, and of the layers above them; that nearest to the error decides. A lost
            connection is believed to a class only where no error has a code: what a server refuses has one.
        texts: By the words of errors that have neither.
        code_of: The store's own code of an error, where it carries one.
    """

    codes: Mapping[Code, Verdict] = field(default_factory=dict[Code, Verdict])
    names: Mapping[str, Verdict] = field(default_factory=dict[str, Verdict])
    texts: tuple[tuple[re.Pattern[str], Verdict], ...] = ()
    code_of: Callable[[BaseException], Code | None] = _no_code

    def of(self, error: BaseException) -> Verdict | None:
        """The verdict on an error, or on one of those that it was raised from; None where there is none."""
        chain = list(_chain(error))
        found = [code for one in chain if (code := self.code_of(one)) is not None]
        coded = {self._on(code) for code in found}
        named = {self._named(one) for one in chain}
        if Verdict.CONFLICT in coded | named:
            return Verdict.CONFLICT
        for verdict in (Verdict.LOST, Verdict.FOR_NOW, Verdict.FOR_GOOD):
            if verdict in coded:
                return verdict
        if found:
            named.discard(Verdict.LOST)
        else:
            named |= {verdict for one in chain for text, verdict in self.texts if text.search(str(one))}
        for verdict in (Verdict.FOR_NOW, Verdict.FOR_GOOD, Verdict.LOST):
            if verdict in named:
                return verdict
        return None

    def without(self, *known: Code) -> Verdicts:
        """The same where these codes and names mean nothing."""
        return replace(
            self,
            codes={code: verdict for code, verdict in self.codes.items() if code not in known},
            names={name: verdict for name, verdict in self.names.items() if name not in known},
        )

    def _on(self, code: Code) -> Verdict | None:
        verdict = self.codes.get(code)
        if verdict is None and isinstance(code, str) and _SQLSTATE.fullmatch(code):
            verdict = self.codes.get(code[:2])
        return verdict

    def _named(self, error: BaseException) -> Verdict | None:
        return next((self.names[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in self.names), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__
