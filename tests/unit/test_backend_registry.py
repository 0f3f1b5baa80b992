"""How a backend of somebody else gets into `QueueConfig`, and what is said where it does not."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from litestar_queues import BackendUnavailableError, QueueConfig, QueueConfigurationError, QueueService
from litestar_queues.backends import registry
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.backends.registry import PORT, lacks, register_queue_backend

pytestmark = pytest.mark.anyio


class WithoutClaim:
    """Everything of the port but `claim` and `unlock`."""

    def __init__(self) -> None:
        self._backend = MemoryBackend()

    def __getattr__(self, name: str) -> Any:
        if name in {"claim", "unlock"}:
            raise AttributeError(name)
        return getattr(self._backend, name)


class Config:
    def __init__(self, made: Any) -> None:
        self.made = made

    def create_backend(self) -> Any:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


def wrong_factory() -> Any:
    return Config(MemoryBackend())


def failing_factory() -> Any:
    return {}["QUEUE_URL"]


not_callable = MemoryBackend()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", {"memory": MemoryBackend})


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make entry points, as installed distributions would."""
    points: list[EntryPoint] = []

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == "litestar_queues.backends"
        return [point for point in points if name is None or point.name == name]

    monkeypatch.setattr(registry, "entry_points", entry_points)

    def add(name: str, value: str) -> None:
        points.append(EntryPoint(name, value, registry.GROUP))

    return add


def test_every_part_of_the_port_is_looked_for() -> None:
    assert set(PORT) == {
        *("name", "process_local", "wakeups", "open", "close", "create_schema", "now", "enqueue_many", "claim"),
        *("touch_heartbeats", "commit", "get", "find", "count", "next_due", "delete", "lock", "unlock"),
        *("read_records", "write_records"),
    }
    assert lacks(MemoryBackend()) == ()
    assert lacks(WithoutClaim()) == ("claim", "unlock")
    assert lacks(None) == PORT


def test_a_property_of_the_backend_is_not_read_before_it_is_open() -> None:
    class Lazy(MemoryBackend):
        @property
        def wakeups(self) -> Any:
            raise RuntimeError("not open")

    assert QueueConfig(queue_backend=Lazy()).create_backend().name == "memory"


def test_an_installed_backend_has_a_name_without_an_import(install: Any) -> None:
    install("theirs", "litestar_queues.backends.memory:MemoryBackend")
    assert isinstance(QueueConfig(queue_backend="theirs").create_backend(), MemoryBackend)


def test_an_unknown_name_lists_registered_and_installed_ones(install: Any) -> None:
    install("theirs", "litestar_queues.backends.memory:MemoryBackend")
    register_queue_backend("mine", MemoryBackend)
    with pytest.raises(
        QueueConfigurationError,
        match="unknown queue backend 'their': the known ones are advanced_alchemy, memory, mine, redis, sqlspec, theirs, "
        "valkey; did you mean 'theirs'",
    ):
        QueueConfig(queue_backend="their")


def test_a_registration_comes_before_an_installed_backend_of_the_name(install: Any) -> None:
    install("theirs", "no.such.module:Backend")
    register_queue_backend("theirs", MemoryBackend)
    assert isinstance(QueueConfig(queue_backend="theirs").create_backend(), MemoryBackend)


def test_an_installed_backend_cannot_take_a_built_in_name(install: Any) -> None:
    install("memory", "no.such.module:Backend")
    assert isinstance(QueueConfig(queue_backend="memory").create_backend(), MemoryBackend)
    install("redis", "no.such.module:Backend")
    with pytest.raises(QueueConfigurationError, match="needs to know its database"):
        QueueConfig(queue_backend="redis")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            ["nosuch.module:Backend"],
            "'theirs' \\(nosuch.module:Backend\\) cannot be loaded: ModuleNotFoundError: No module",
        ),
        (["litestar_queues:NoSuch"], "cannot be loaded: AttributeError: .*NoSuch"),
        ([f"{__name__}:not_callable"], "its entry point names a MemoryBackend, not a function or a class"),
        ([f"{__name__}:failing_factory"], "the factory of the queue backend 'theirs' raised KeyError: 'QUEUE_URL'"),
        ([f"{__name__}:wrong_factory"], "the queue backend 'theirs' is no backend, but a Config"),
        ([f"{__name__}:WithoutClaim"], "no complete backend: WithoutClaim lacks claim, unlock"),
        (["a:B", "c:D"], "several installed distributions have a queue backend named 'theirs': a:B; c:D"),
    ],
)
def test_an_installed_backend_that_cannot_be_made_is_named_with_the_reason(
    install: Any, values: list[str], says: str
) -> None:
    for value in values:
        install("theirs", value)
    config = QueueConfig(queue_backend="theirs")
    with pytest.raises(QueueConfigurationError, match=says):
        config.create_backend()


def test_the_same_distribution_found_twice_is_one(install: Any) -> None:
    for _ in range(2):
        install("theirs", "litestar_queues.backends.memory:MemoryBackend")
    assert isinstance(QueueConfig(queue_backend="theirs").create_backend(), MemoryBackend)


@pytest.mark.parametrize(
    ("name", "factory", "says"),
    [
        ("", MemoryBackend, "a text of at least one character"),
        (5, MemoryBackend, "a text of at least one character, not 5"),
        ("mine", MemoryBackend(), "must be a function or a class.*not a MemoryBackend.*register `lambda: backend`"),
        ("mine", None, "must be a function or a class"),
        ("memory", MemoryBackend, "exists already"),
    ],
)
def test_what_cannot_be_registered_is_refused_at_once(name: Any, factory: Any, says: str) -> None:
    with pytest.raises(QueueConfigurationError, match=says):
        register_queue_backend(name, factory)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, r"what Config\.create_backend\(\) returned is no backend, but None"),
        (WithoutClaim(), r"what Config\.create_backend\(\) returned is no complete backend: WithoutClaim lacks claim"),
        (OSError("no space"), r"Config\.create_backend\(\) raised OSError: no space"),
    ],
)
async def test_a_config_that_makes_no_backend_is_named_when_the_service_opens(made: Any, says: str) -> None:
    with pytest.raises(QueueConfigurationError, match=says):
        await QueueService(QueueConfig(queue_backend=Config(made))).open()


def test_an_error_of_the_queues_own_passes_as_it_is() -> None:
    config = QueueConfig(queue_backend=Config(BackendUnavailableError("down")))
    with pytest.raises(BackendUnavailableError, match=r"^down$"):
        config.create_backend()


def test_an_incomplete_backend_is_refused_with_what_it_lacks() -> None:
    incomplete: Any = WithoutClaim()
    with pytest.raises(QueueConfigurationError, match="queue_backend is no complete backend: WithoutClaim lacks claim"):
        QueueConfig(queue_backend=incomplete)


async def test_a_backend_whose_open_is_no_coroutine_is_refused() -> None:
    class Sync(MemoryBackend):
        def open(self) -> None:  # type: ignore[override]
            pass

    backend: QueueBackend = Sync()  # type: ignore[assignment]
    with pytest.raises(QueueConfigurationError, match=r"Sync\.open\(\) returned no awaitable"):
        await QueueService(QueueConfig(queue_backend=backend)).open()
