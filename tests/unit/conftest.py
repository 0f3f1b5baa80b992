from __future__ import annotations

import pytest

from litestar_queues.pauses import Backoffs, Pause


@pytest.fixture
def quick_backoffs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries against a store that is away, too short to wait for."""
    monkeypatch.setattr(Backoffs, "after", lambda *_: Pause(0.001))
