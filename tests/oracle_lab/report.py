"""What each validator makes of our statements, and of the wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from litestar_queues.backends.sql.families import ORACLE, statements_of
from litestar_queues.backends.sql.schema import schema_of
from oracle_lab.alchemy import MODELS, statements
from oracle_lab.corpus import WRONG
from oracle_lab.rules import parts
from oracle_lab.validators import VALIDATORS

__all__ = ("Report", "examine")


@dataclass(frozen=True, slots=True)
class Report:
    """What they said.

    Attributes:
        statements: How many statements are ours.
        refused: What each validator says against ours, by the statement's name.
        caught: Whether each validator refuses each of the wrong ones.
        not_run: Why a validator could not be asked.
    """

    statements: int
    refused: Mapping[str, Mapping[str, str]]
    caught: Mapping[str, list[bool]]
    not_run: Mapping[str, str]

    def lines(self) -> list[str]:
        """The report as text."""
        width = max(len(one.what) for one in WRONG)
        lines = [f"{'':{width}}  {'  '.join(self.caught)}"]
        for place, one in enumerate(WRONG):
            marks = (("x" if said[place] else ".").ljust(len(name)) for name, said in self.caught.items())
            lines.append(f"{one.what:{width}}  {'  '.join(marks)}".rstrip())
        lines += [f"{name} refuses {one}: {why}" for name, said in self.refused.items() for one, why in said.items()]
        counts = (f"{name} {sum(said)}" for name, said in self.caught.items())
        refused = sum(map(len, self.refused.values()))
        lines.append(
            f"of {len(WRONG)} wrong statements: {', '.join(counts)}; of our {self.statements} statements: {refused} refused"
        )
        lines += [f"not run: {name}: {why}" for name, why in self.not_run.items()]
        return [*lines, "not run: Oracle itself: docs/how-to/databases.md says how to"]


def examine(table: str = "ops.Order") -> Report:
    """Ask each validator that is to be had, once, about our statements for this table and about the wrong ones."""
    named = {
        f"{name} {place}".removesuffix(" 0"): part
        for name, one in statements_of(ORACLE, table).items()
        for place, part in enumerate(parts(one.text))
    }
    named |= {f"drop {place}": text for place, text in enumerate(schema_of(ORACLE, table).drops())}
    for model in MODELS:
        named |= dict(statements(model))
    refused: dict[str, Mapping[str, str]] = {}
    caught: dict[str, list[bool]] = {}
    not_run: dict[str, str] = {}
    for validator in VALIDATORS:
        if (missing := validator.missing()) is not None:
            not_run[validator.name] = missing
            continue
        said = validator.complaints([*named.values(), *(one.text for one in WRONG)])
        refused[validator.name] = {name: why for name, why in zip(named, said, strict=False) if why is not None}
        caught[validator.name] = [why is not None for why in said[len(named) :]]
    return Report(len(named), refused, caught, not_run)
