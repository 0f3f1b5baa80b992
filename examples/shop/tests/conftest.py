from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from litestar_queues import QueueConfig, QueuePlugin
from litestar_queues.testing import QueueTester
from shop import on_alchemy, on_sqlspec, warehouse
from shop.web import HANDLERS


def in_memory(file: Path) -> Litestar:
    return Litestar(HANDLERS, plugins=[QueuePlugin(QueueConfig(queue_backend="memory"))])


CREATE_APP: dict[str, Callable[[Path], Litestar]] = {
    "memory": in_memory,
    "sqlspec": on_sqlspec.create_app,
    "alchemy": on_alchemy.create_app,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The database of one test."""
    return tmp_path / "shop.db"


@pytest.fixture(params=CREATE_APP)
def app(request: pytest.FixtureRequest, file: Path) -> Litestar:
    """The shop, once on each backend."""
    return CREATE_APP[request.param](file)


@pytest.fixture
def client(app: Litestar, queue_tester: QueueTester) -> Iterator[TestClient[Litestar]]:
    with TestClient(app) as client:
        yield client


@pytest.fixture
def warehouse_responds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`warehouse_responds(503, 200)` sets the statuses of the responses, and returns the list of received events."""

    def respond(*statuses: int) -> list[str]:
        received: list[str] = []

        async def post(event: str, body: dict[str, object]) -> int:
            received.append(event)
            return statuses[len(received) - 1]

        monkeypatch.setattr(warehouse, "post", post)
        return received

    return respond


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
