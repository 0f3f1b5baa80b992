"""Parsers of Oracle's language that are to be had without Oracle.

None knows all of it. What a parser does not know of our statements is put into simpler words for it, and stands here: those
parts are held to the rules of our own instead.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from oracle_lab.rules import complaints, json_tables

__all__ = ("VALIDATORS", "Validator")

_QUALIFIED = re.compile(r"\b\w+\.(?=\"\w+\"\.[\"\w])")
MODULES = "LITESTAR_QUEUES_ANTLR_DIR"
"""Names the directory whose `node_modules` has antlr4ts-sql and antlr4ts 0.5.0-alpha.4."""


class Validator(Protocol):
    """Says what is wrong with statements."""

    name: str

    def missing(self) -> str | None:
        """Why it cannot be asked here; None if it can."""
        ...

    def complaints(self, texts: Sequence[str]) -> list[str | None]:
        """The first complaint about each statement; None where there is none."""
        ...


class Sqlglot:
    """Knows many dialects, and lets much pass. It does not know VIRTUAL."""

    name = "sqlglot"

    def missing(self) -> str | None:
        return None if find_spec("sqlglot") else "pip install sqlglot"

    def complaints(self, texts: Sequence[str]) -> list[str | None]:
        return [self._complaint(_without_virtual(text)) for text in texts]

    @staticmethod
    def _complaint(text: str) -> str | None:
        import sqlglot

        try:
            sqlglot.parse_one(text, dialect="oracle", error_level=sqlglot.ErrorLevel.RAISE)
        except sqlglot.errors.SqlglotError as error:
            return str(error).splitlines()[0]
        return None


class Sqlfluff:
    """Its own grammar of Oracle's dialect. It knows neither JSON_TABLE nor virtual columns."""

    name = "sqlfluff"

    def missing(self) -> str | None:
        return None if find_spec("sqlfluff") else "pip install sqlfluff"

    def complaints(self, texts: Sequence[str]) -> list[str | None]:
        from sqlfluff.core import Linter

        linter: Any = Linter(dialect="oracle")
        parsed = [linter.parse_string(f"{_without_virtual(_without_json_tables(text))}\n") for text in texts]
        return [one.violations[0].desc()[:200] if one.violations else None for one in parsed]


class Antlr:
    """The PL/SQL grammar of the ANTLR project, older than JSON_TABLE, LATERAL and a row limit inside a query.

    It does not know either that the name of a column can have a schema's before that of its table.
    """

    name = "antlr4ts-sql"

    def missing(self) -> str | None:
        if shutil.which("node") is None:
            return "node is not installed"
        if _modules() is None:
            return f"npm install antlr4ts-sql antlr4ts@0.5.0-alpha.4, and set {MODULES} to where that was done"
        return None

    def complaints(self, texts: Sequence[str]) -> list[str | None]:
        simpler = [_without_inner_limits(_without_virtual(_without_json_tables(text))) for text in texts]
        simpler = [f"{_QUALIFIED.sub('', text.replace(' LATERAL (', ' ('))};" for text in simpler]
        command = ["node", str(Path(__file__).with_name("antlr.cjs")), str(_modules())]
        done = subprocess.run(
            command, input=json.dumps(simpler), capture_output=True, text=True, check=True, timeout=600
        )
        answers: list[str | None] = json.loads(done.stdout)
        return answers


class OurRules:
    """What the others do not know, or let pass."""

    name = "our rules"

    def missing(self) -> str | None:
        return None

    def complaints(self, texts: Sequence[str]) -> list[str | None]:
        return [next(iter(complaints(text)), None) for text in texts]


VALIDATORS: tuple[Validator, ...] = (Sqlglot(), Sqlfluff(), Antlr(), OurRules())


@cache
def _modules() -> Path | None:
    given = os.environ.get(MODULES)
    return Path(given) if given and (Path(given) / "node_modules" / "antlr4ts-sql").is_dir() else None


def _without_json_tables(text: str) -> str:
    for call in json_tables(text):
        text = text.replace(call, "unpacked")
    return text


def _without_virtual(text: str) -> str:
    return re.sub(r" GENERATED ALWAYS AS \((?:[^()]|\([^()]*\))*\) VIRTUAL", "", text)


def _without_inner_limits(text: str) -> str:
    return re.sub(r"\s+FETCH FIRST :(?:p_)?limit ROWS ONLY(?=\s*\))", "", text)
