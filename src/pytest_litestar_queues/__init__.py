"""Fixtures for tests of applications with queues. Imports nothing before one of them is used.

A package of its own: a module inside `litestar_queues` would import that, and Litestar, in every pytest session of the
environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from litestar_queues.testing import AsyncQueueTester, QueueTester

__all__ = ("async_queue_tester", "queue_tester")


@pytest.fixture
def queue_tester() -> Iterator[QueueTester]:
    """A `QueueTester` for the application that the test runs with Litestar's `TestClient`."""
    from litestar_queues.testing import QueueTester  # noqa: PLC0415  # not before it is used

    with QueueTester() as tester:
        yield tester


@pytest.fixture
def async_queue_tester() -> Iterator[AsyncQueueTester]:
    """An `AsyncQueueTester` for the service that is open in the test, its own or that of the application it runs."""
    from litestar_queues.testing import AsyncQueueTester  # noqa: PLC0415  # not before it is used

    tester = AsyncQueueTester()
    tester.start()
    try:
        yield tester
    finally:
        tester.stop()
