"""The pytest plugin: its options, and nothing else unless a backend is named.

Pytest imports this module in every project of an environment that has the suite. Until a backend is named, it imports
only the standard library and pytest: `litestar_queues` may be missing, too old, or the other project of that name.

`--backend` and `--seed` are common words. They are added after all other plugins and the project's own conftest had
their turn, and left out where somebody has them already; `--queue-backend` and `--queue-seed` are always there.
"""

from __future__ import annotations

import os
import random
import sys
from argparse import ArgumentError
from collections.abc import Generator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from litestar_queues_conformance.cases import FOLDER

if TYPE_CHECKING:
    from litestar_queues_conformance.target import Target

__all__ = (
    "pytest_addoption",
    "pytest_cmdline_main",
    "pytest_collection_modifyitems",
    "pytest_collectstart",
    "pytest_configure",
    "pytest_load_initial_conftests",
)

AUTO = "auto"
"""What `--backend` takes instead of a target, for all that can be run."""
BACKLOG = 100_000
"""Beside how many tasks the scale profile measures a claim."""
_NO_BACKEND = "conformance cases need a backend: --backend=NAME, or --backend=module:attribute"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that nobody else has."""
    group = parser.getgroup("litestar-queues", "conformance of a litestar-queues backend")
    group.addoption(
        "--queue-backend",
        dest="queue_backend",
        metavar="NAME",
        help="run the conformance suite on this backend: the name of an installed target, or module:attribute, and "
        "after an @ the server, where it runs on several; or auto: one after another on each that can be had here "
        "(also: --backend, where no other plugin has it)",
    )
    group.addoption(
        "--queue-seed",
        dest="queue_seed",
        type=int,
        metavar="N",
        help="what everything that is drawn is drawn from; printed, and drawn itself without this "
        "(also: --seed, where no other plugin has it)",
    )
    group.addoption(
        "--queue-time",
        dest="queue_time",
        choices=("both", "given", "store", "once"),
        default="both",
        help="whose time the cases run by: that which the suite gives (given), the store's own (store), as in production, or "
        "both, one after the other; once: by the store's own, and each case once. Anything but both leaves cases out",
    )
    group.addoption(
        "--queue-scale",
        dest="queue_scale",
        nargs="?",
        type=int,
        const=BACKLOG,
        metavar="N",
        help="measure the scale profile, too: what a claim costs beside N other tasks (100,000 unless given), and the memory of "
        "a client. It takes minutes on some backends",
    )
    group.addoption(
        "--report-json",
        dest="queue_report_json",
        metavar="PATH",
        help="write every guarantee's result, the cases, the seed and the versions to this file; with auto, to one for "
        "each target, whose name is added to the file's",
    )


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, Any, Any]:
    """Add the short names once everybody who could want them has been loaded."""
    if any(str(one).startswith(("--backend", "--queue-backend")) for one in args):
        _remove_old_report(early_config)
    result = yield
    group = parser.getgroup("litestar-queues")
    with suppress(ValueError, ArgumentError):  # somebody else's option
        group.addoption("--backend", dest="queue_backend", metavar="NAME", help="the same as --queue-backend")
    with suppress(ValueError, ArgumentError):
        group.addoption("--seed", dest="queue_seed", type=int, metavar="N", help="the same as --queue-seed")
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """With `--backend=auto`, run pytest once for each target instead."""
    if config.getoption("queue_backend") != AUTO or config.getoption("help"):
        return None
    _import_suite()
    from litestar_queues_conformance.auto import exit_code, report_path, run_targets, summary  # noqa: PLC0415  # see above
    from litestar_queues_conformance.target import known_targets  # noqa: PLC0415

    path: str | None = config.getoption("queue_report_json")
    runs = run_targets(
        known_targets(),
        config.invocation_params.args,
        report=None if path is None else partial(report_path, config.invocation_params.dir / path),
        cwd=config.invocation_params.dir,
    )
    sys.stdout.write(f"\n{summary(runs)}")
    return exit_code(runs)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Load the target and turn to the suite's cases, where a backend is named."""
    config.addinivalue_line(
        "markers", "guarantee(*ids, deadline, time): a case of the conformance suite, and what it checks"
    )
    name: str | None = config.getoption("queue_backend")
    if name is None or name == AUTO:
        return
    _import_suite()
    from litestar_queues_conformance.session import ConformanceSession  # noqa: PLC0415  # see above
    from litestar_queues_conformance.showing import ShortFailures  # noqa: PLC0415
    from litestar_queues_conformance.target import UnknownTarget, load_target  # noqa: PLC0415
    from litestar_queues_conformance.tested import tested  # noqa: PLC0415
    from litestar_queues_conformance.trial import BrokenTarget, try_target  # noqa: PLC0415

    try:
        target = load_target(name)
    except UnknownTarget as error:
        raise pytest.UsageError(str(error)) from None
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(FOLDER.parent)]
        config.args_source = pytest.Config.ArgsSource.ARGS
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    seed: int | None = config.getoption("queue_seed") if workerinput is None else workerinput["litestar_queues_seed"]
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    session = ConformanceSession(config, name, target, seed)
    config.pluginmanager.register(session, "litestar-queues-conformance-session")
    if workerinput is None and not config.getoption("collectonly"):
        _serve(config, target)
        try:
            session.report.tested = tested(try_target(name, target, os.environ))
        except BrokenTarget as error:
            raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(ShortFailures(config), "litestar-queues-conformance-failures")


def _remove_old_report(config: pytest.Config) -> None:
    """Remove the report of an earlier run, so that nobody takes it for this one's, however this one ends."""
    known = config.known_args_namespace
    path: str | None = known.queue_report_json
    if path is None or known.collectonly or hasattr(config, "workerinput"):
        return
    old = config.invocation_params.dir / path
    if old.is_file() and not old.is_symlink():  # not /dev/stderr, which leads to a file
        try:
            old.unlink()
        except OSError as error:
            raise pytest.UsageError(
                f"--report-json={path}: the report that is there cannot be removed: {error}"
            ) from None


def _import_suite() -> None:
    """Import the suite, or say in one sentence why that cannot work here."""
    from litestar_queues_conformance.installed import problem  # noqa: PLC0415  # nothing of it where inert

    wrong = problem()
    if wrong is not None:
        raise pytest.UsageError(wrong)
    try:
        for module in ("session", "trial"):
            import_module(f"litestar_queues_conformance.{module}")
    except Exception as error:
        raise pytest.UsageError(
            f"the conformance suite cannot be imported here ({type(error).__name__}: {error}): install the versions of "
            "the packages that it requires; `python -m pip check` lists those that are missing or do not fit"
        ) from error


def _serve(config: pytest.Config, target: Target) -> None:
    """Have the target's server running until the run is over, and its address in the environment."""
    serve = getattr(target, "serve", None)
    if serve is None:
        return
    running = ExitStack()
    config.add_cleanup(running.close)
    try:
        variables: Mapping[str, str] = running.enter_context(serve(os.environ))
    except LookupError as error:
        raise pytest.UsageError(str(error)) from None
    except Exception as error:
        raise pytest.UsageError(f"serve(env) of the target raised {type(error).__name__}: {error}") from error
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)

    @running.callback
    def restore() -> None:  # pyright: ignore[reportUnusedFunction]  # called at the end
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Refuse the suite's own files without a backend, before they are imported."""
    if collector.config.getoption("queue_backend") is None and FOLDER in (collector.path, *collector.path.parents):
        raise pytest.UsageError(_NO_BACKEND)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse other cases without a backend, too: they would fail for lack of a store."""
    if config.getoption("queue_backend") is None and any(item.get_closest_marker("guarantee") for item in items):
        raise pytest.UsageError(_NO_BACKEND)
