"""What pages name exists: commands, options, import paths, fields of configurations, links."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from command_lab import Wrong, check_line
from page_lab import PAGES, ROOT, blocks, commands
from page_words import ATTRIBUTES, FOREIGN, IMPORTED, METHODS

import litestar_queues
from litestar_queues.backends import sqlspec
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig, QueueTaskModel, QueueTaskModelMixin
from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.sqlspec import Location, QueueStore, ServerAddress, SQLSpecBackendConfig, stores
from litestar_queues.backends.valkey import ValkeyBackendConfig
from litestar_queues.events.base import TaskEventKind
from litestar_queues.execution.cloudrun import CloudRunExecutionConfig
from litestar_queues.options import TaskOptions
from litestar_queues.records import TaskRecord
from litestar_queues.schedules.options import SCHEDULE_OPTIONS
from litestar_queues_conformance.guarantees import GUARANTEES

HOW_TO = [page for page in PAGES if page.startswith("docs/how-to/")]
HELD = ("docs/how-to/testing.md", "docs/how-to/write-a-backend.md", "docs/how-to/write-an-execution-backend.md")
"""Pages that tests of their own hold."""
OURS = ["README.md", "docs/reference/glossary.md", *(page for page in HOW_TO if page not in HELD)]
"""Pages whose every name is looked up."""

SAMPLES = {
    "README.md": (2, "tests/integration/test_readme.py"),
    "docs/how-to/add-an-adapter.md": (2, "tests/integration/test_adapter_page.py"),
    "docs/how-to/advanced-alchemy.md": (5, "tests/integration/test_alchemy_page.py"),
    "docs/how-to/cloud-run.md": (1, "tests/integration/test_cloudrun_page.py"),
    "docs/how-to/databases.md": (
        9,
        "tests/integration/test_databases_page.py, tests/servers/test_databases_page_on_postgres.py",
    ),
    "docs/how-to/notifications.md": (1, "tests/integration/test_notifications_page.py"),
    "docs/how-to/redis.md": (4, "tests/servers/test_redis_page.py"),
    "docs/how-to/schedules.md": (3, "tests/integration/test_schedules_page.py"),
    "docs/how-to/worker-deaths.md": (1, "tests/integration/test_deaths_page.py"),
    "docs/how-to/transactions.md": (2, "tests/integration/test_transactions_page.py"),
}
"""How many samples in Python a page has, and which tests run all of them."""
ELSEWHERE = {
    "conformance/README.md": "the tests of the conformance suite hold it: its samples need a backend of the reader",
    "docs/how-to/testing.md": "tests/integration/test_testing_page.py runs them",
    "docs/how-to/write-a-backend.md": "tests/integration/test_backend_page.py compares them with the example",
    "docs/how-to/write-an-execution-backend.md": "tests/integration/test_execution_page.py compares them, and runs them",
}
"""Pages whose samples are not run from here, with the reason."""

CONFIGS: dict[str, Any] = {
    "QueueConfig": litestar_queues.QueueConfig,
    "SQLSpecBackendConfig": SQLSpecBackendConfig,
    "AdvancedAlchemyBackendConfig": AdvancedAlchemyBackendConfig,
    "RedisBackendConfig": RedisBackendConfig,
    "ValkeyBackendConfig": ValkeyBackendConfig,
    "CloudRunExecutionConfig": CloudRunExecutionConfig,
    "QueueStore": QueueStore,
    "ServerAddress": ServerAddress,
    "Location": Location,
}
CLASSES: dict[str, Any] = {
    **{name: getattr(litestar_queues, name) for name in litestar_queues.__all__},
    **{name: getattr(sqlspec, name) for name in sqlspec.__all__},
    **CONFIGS,
    "QueueTaskModel": QueueTaskModel,
    "QueueTaskModelMixin": QueueTaskModelMixin,
}
INSTANCES = {"queue_service": "QueueService", "result": "TaskResult", "service": "QueueService"}
"""What the pages call an object of a class."""
COMMAND = re.compile(r"(litestar|nox|python3?|pip|pytest|sqlspec) [a-z-]")
PATH = re.compile(r"litestar_queues\w*(\.\w+)*(:\w+)?")


def fields() -> set[str]:
    """Every option and field that a page may name by itself."""
    names = {one.name for config in CONFIGS.values() for one in dataclasses.fields(config)}
    names |= {*TaskOptions.__struct_fields__, *SCHEDULE_OPTIONS, *TaskRecord.__struct_fields__, "session"}
    return (
        names | set(QueueTaskModel.__table__.columns.keys()) | {name for cls in CLASSES.values() for name in dir(cls)}
    )


FIELDS = fields()
EVENTS = {event.value for event in TaskEventKind}


def distributions() -> set[str]:
    """The extras of this project, and what its metadata and its dependency groups require."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras: dict[str, list[str]] = metadata["project"]["optional-dependencies"]
    groups = [one for group in metadata["dependency-groups"].values() for one in group if isinstance(one, str)]
    required = [*metadata["project"]["dependencies"], *groups, *(one for extra in extras.values() for one in extra)]
    return {re.split(r"[<>=;\[ ]", one)[0] for one in required} | {metadata["project"]["name"], *extras}


ADAPTERS = set(stores._STORES)
DISTRIBUTIONS = distributions()


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def spans(page: str) -> list[str]:
    """What stands between backticks in the prose."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def command_lines(page: str) -> list[str]:
    shown = [line for block in blocks(page, "console") for line in commands(block)]
    return shown + [span for span in spans(page) if COMMAND.match(span) and span != "pip install"]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_of_a_page_exists(page: str) -> None:
    wrong: dict[str, str] = {}
    for line in command_lines(page):
        try:
            check_line(line)
        except Wrong as error:
            wrong[line] = str(error)
    assert wrong == {}


@pytest.mark.parametrize(
    "line",
    [
        "litestar queues tasks", "litestar queues list --stat failed", "litestar --app app:app queues run --quue mail",
        "nox -s matriks", "python -m litestar_queues_matrix.sabotage", "pytest --bakend=aiosqlite", "sqlspec upgrad",
        "litestar rum", "queuectl run",
    ],
)  # fmt: skip
def test_a_command_line_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(Wrong):
        check_line(line)


@pytest.mark.parametrize("page", PAGES)
def test_every_import_path_of_a_page_exists(page: str) -> None:
    paths = {span for span in spans(page) if PATH.fullmatch(span) and ("." in span or span == "litestar_queues")}
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("litestar_queues"):
                paths |= {f"{node.module}:{alias.name}" for alias in node.names}
    for path in paths - FOREIGN.keys():
        resolve(path)


def resolve(path: str) -> Any:
    """What an import path names; `package.module:name` or `package.module.name`."""
    module, _, name = path.partition(":")
    if not name:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", OURS)
def test_every_name_of_a_page_is_known(page: str) -> None:
    unknown = {span: problem for span in spans(page) if span not in FOREIGN and (problem := unknown_in(span))}
    assert unknown == {}


@pytest.mark.parametrize(
    "span",
    ["create_shema=True", "QueueConfig(event_sink=[...])", "TaskResult.idd", "worker_stale", "QueuePlugg", "--quue"],
)
def test_a_name_that_does_not_exist_is_found(span: str) -> None:
    assert unknown_in(span)


def unknown_in(span: str) -> str | None:
    """What of a span nobody knows; None where it is no code of Python, or all of it is known."""
    if re.split(r"[\[<]", span)[0] in DISTRIBUTIONS:
        return None
    if span.startswith("--"):
        return (
            None
            if span.split("=", maxsplit=1)[0].split(maxsplit=1)[0] in OPTIONS
            else f"no command has the option {span}"
        )
    try:
        tree = ast.parse(span.removeprefix("async ").removeprefix("with ").removesuffix(":"))
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if problem := _problem(node):
            return problem
    return None


def _problem(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in CLASSES:
            parameters = inspect.signature(CLASSES[name]).parameters
            return next((f"{name} takes no {one.arg}" for one in keywords if one.arg not in parameters), None)
        case ast.Attribute(value=ast.Name(id=owner), attr=attr):
            owner = INSTANCES.get(owner, owner)
            if owner in CLASSES and not hasattr(CLASSES[owner], attr):
                return f"{owner} has no {attr}"
        case ast.Name(id=name):
            if name.upper() == name:
                return None  # SQL, and the commands of servers
            if not any(
                name in known for known in (FIELDS, CLASSES, INSTANCES, EVENTS, ADAPTERS, DISTRIBUTIONS, FOREIGN)
            ):
                return f"nobody knows {name}"
    return None


def _options() -> set[str]:
    from litestar_queues.cli import queues_group

    groups = [queues_group, *(one for one in queues_group.commands.values() if isinstance(one, click.Group))]
    all_commands = [command for group in groups for command in group.commands.values()]
    return {name for command in all_commands for one in command.params for name in one.opts} | {"--help"}


OPTIONS = _options()


@pytest.mark.parametrize("page", HOW_TO)
def test_the_options_of_a_table_are_fields(page: str) -> None:
    for table in re.findall(r"^\| option \|.*\n((?:^\|.*\n)+)", PAGES[page], flags=re.MULTILINE):
        for name in re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE):
            known = any(name in inspect.signature(one).parameters for one in CONFIGS.values())
            assert known or name in SCHEDULE_OPTIONS or page.endswith("testing.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_samples_of_a_page_are_tried(page: str) -> None:
    if page in ELSEWHERE:
        return
    count, where = SAMPLES.get(page, (0, ""))
    assert len(blocks(page, "python")) == count
    assert all((ROOT / test).exists() for test in where.split(", ") if test)
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page}, sample {number}", "exec")


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(path: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*OURS, *HELD])
def test_a_page_begins_with_what_its_reader_can_do_then(page: str) -> None:
    if page == "README.md":
        assert "docs/reference/glossary.md" in PAGES[page]
        return
    paragraph = PAGES[page].split("\n\n")[1]
    assert paragraph.startswith("After this page"), paragraph
    assert "glossary" in page or "glossary.md" in paragraph


def test_every_id_of_a_guarantee_on_a_page_exists() -> None:
    named = {id_ for page in OURS for id_ in re.findall(r"\b[A-Z]{3}-\d\d\b", PAGES[page])}
    assert named - set(GUARANTEES) == set()


def test_what_a_page_names_of_others_is_named_by_one() -> None:
    words = " ".join(PAGES[page] for page in OURS)
    assert [name for name in FOREIGN if name not in words] == []


@pytest.mark.parametrize("name", IMPORTED)
def test_a_name_of_another_package_exists(name: str) -> None:
    """Looked up in the source: the drivers that some modules import are not everywhere."""
    spec = importlib.util.find_spec(IMPORTED[name])
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    defines = re.compile(rf"^(class|def) {name}\b|^\s*{name}\s*[:=]", re.MULTILINE)
    files = folder.rglob("*.py") if spec.submodule_search_locations else [Path(spec.origin)]
    assert any(defines.search(path.read_text()) for path in files)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_another_package_exists(name: str) -> None:
    module, _, path = METHODS[name].partition(":")
    owner = importlib.import_module(module)
    for part in path.split("."):
        owner = getattr(owner, part)
    assert callable(owner)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_parameter_of_another_package_exists(name: str) -> None:
    assert name in inspect.signature(resolve(ATTRIBUTES[name])).parameters


# Installing


def test_one_page_says_how_to_install() -> None:
    """Every other page links to it; the README has its main line, too."""
    lines = {
        page: [
            line for line in command_lines(page) if re.search(r"\bpip (install|wheel)\b", line) and "nox" not in line
        ]
        for page in PAGES
        if not page.startswith("conformance/") and not page.endswith("testing.md")
    }
    [main] = lines.pop("README.md")
    install = lines.pop("docs/how-to/install.md")
    assert main in install
    assert not any(lines.values()), lines


def test_no_page_installs_the_other_project() -> None:
    wrong = re.compile(r"pip3? install[^\n]*[\s'\"]litestar[-_]queues(?!-\*)(?!_conformance-\*)", re.IGNORECASE)
    texts = [*PAGES.items(), *((str(path), path.read_text()) for path in (ROOT / "src").rglob("*.py"))]
    assert [(page, found.group()) for page, text in texts if (found := wrong.search(text))] == []
    assert wrong.search("pip install 'litestar-queues[redis]'")
    assert wrong.search("pip install litestar-queues-conformance")
