from __future__ import annotations

import pytest

from litestar_queues.worker.pause import Backoffs


@pytest.fixture
def quick_backoffs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries against a store that is away, too short to wait for."""
    monkeypatch.setattr(Backoffs.__init__, "__defaults__", (0.001, 0.01))
