"""Whether a command line that a page shows exists: its program, its subcommands and its options."""

from __future__ import annotations

import ast
import importlib.util
import shlex
import subprocess
import sys
from functools import cache
from typing import Any

import click
from click.testing import CliRunner
from litestar.cli.main import litestar_group
from page_lab import ROOT

from litestar_queues.cli import queues_group

SHELL = {"curl", "kill", "jobs", "apt", ".", "echo", "gcloud"}
"""Programs of the reader's system."""


class Wrong(Exception):
    """The command line does not exist; says why."""


def check_line(line: str) -> None:
    """Raise `Wrong` unless the command line exists."""
    for part in line.split("&&"):
        words = shlex.split(part.strip().removesuffix("&"))
        while words and "=" in words[0] and not words[0].startswith("-"):
            words.pop(0)  # a variable of the environment
        program, *arguments = words
        if program in SHELL:
            continue
        if program not in PROGRAMS:
            raise Wrong(f"no test knows the program {program!r}")
        PROGRAMS[program](arguments)


def _litestar(arguments: list[str]) -> None:
    if arguments[:1] == ["--app"]:
        arguments = arguments[2:]
    name, *rest = arguments
    if name != "queues":
        _click(litestar_group, [name, *rest])
        return
    if rest:
        _click(queues_group, rest)


def _click(group: Any, arguments: list[str]) -> None:
    name, *rest = arguments
    context = click.Context(group)
    command = group.get_command(context, name)
    if command is None:
        raise Wrong(f"{group.name} has no command {name!r}")
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        _click(command, rest)
        return
    try:
        command.make_parser(click.Context(command)).parse_args(list(rest))
    except click.UsageError as error:
        raise Wrong(f"{group.name} {name}: {error}") from error
    helped = CliRunner().invoke(command, ["--help"])
    if helped.exit_code:
        raise Wrong(f"{group.name} {name} --help ends with {helped.exit_code}")


def _sqlspec(arguments: list[str]) -> None:
    from sqlspec.cli import add_migration_commands

    _click(add_migration_commands(), arguments)


@cache
def sessions() -> set[str]:
    """The sessions of nox."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("nox.session" in ast.unparse(one) for one in node.decorator_list)
    }


def _nox(arguments: list[str]) -> None:
    if arguments[:1] == ["-s"]:
        _session(arguments[1])
    elif arguments and arguments[0] != "-l":
        raise Wrong(f"no test knows nox {arguments[0]}")


def _session(name: str) -> None:
    if name not in {*sessions(), "SESSION", "-l"}:  # what stands for any of them, and lists them
        raise Wrong(f"nox has no session {name!r}: {sorted(sessions())}")


def _python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        module, *rest = arguments[1:]
        if module in PROGRAMS:
            PROGRAMS[module](rest)
        elif importlib.util.find_spec(module) is None:
            raise Wrong(f"there is no module {module}")
        return
    if not (ROOT / arguments[0]).exists():
        raise Wrong(f"the checkout has no {arguments[0]}")
    if arguments[0] == "dev.py":
        _session(arguments[1])


@cache
def pytest_help() -> str:
    """What `pytest --help` prints, with the suite's plugin."""
    command = [sys.executable, "-m", "pytest", "--help"]
    return subprocess.run(command, cwd=ROOT / "tests" / "unit", capture_output=True, text=True, check=True).stdout


def _pytest(arguments: list[str]) -> None:
    for argument in arguments:
        option = argument.partition("=")[0]
        if option.startswith("-") and option not in pytest_help():
            raise Wrong(f"pytest has no option {option}")


def _pip(arguments: list[str]) -> None:
    options = {"--no-deps", "--wheel-dir", "--yes", "--target"}
    if arguments[0] not in {"install", "wheel", "show", "uninstall"}:
        raise Wrong(f"no page needs pip {arguments[0]}")
    if unknown := {one for one in arguments if one.startswith("-")} - options:
        raise Wrong(f"no test knows the options {unknown} of pip")


PROGRAMS: dict[str, Any] = {
    "litestar": _litestar,
    "sqlspec": _sqlspec,
    "nox": _nox,
    "python": _python,
    "python3": _python,
    "pytest": _pytest,
    "pip": _pip,
}
