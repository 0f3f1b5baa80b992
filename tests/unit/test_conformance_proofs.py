"""Hooks of a target that do nothing, and a clock that cannot be wrong: nothing is found out by them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from litestar_queues_conformance.cases import test_err as err
from litestar_queues_conformance.harness import Check, NotFoundOut, Store
from litestar_queues_conformance.refusals import proven_cut
from litestar_queues_conformance.saboteurs.errors import RaisesWhatItMeets
from litestar_queues_conformance.saboteurs.hints import HintsItsClients
from litestar_queues_conformance.skewing import in_zone, skewed
from litestar_queues_conformance.target import Refusal


class DoesNothing(type(RaisesWhatItMeets.target)):  # type: ignore[misc]
    """Has every hook, and none does anything."""

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        return None

    @asynccontextmanager
    async def refusing(self, config: dict[str, Any], how: Refusal) -> AsyncGenerator[None]:
        yield

    @asynccontextmanager
    async def losing(self, config: dict[str, Any], number: int) -> AsyncGenerator[Callable[[], bool]]:
        yield lambda: False


@pytest.mark.parametrize(
    ("id_", "case"),
    [
        ("ERR-01", err.test_a_call_on_a_cut_connection_is_answered_in_full_or_raises),
        ("ERR-02", err.test_a_client_works_again_after_its_connections_were_cut),
        ("ERR-03", err.test_what_a_lost_reply_was_about_is_done_once),
        ("ERR-04", err.test_a_call_says_that_its_store_is_away),
        ("ERR-05", err.test_a_call_says_that_its_store_refuses_for_now),
        ("ERR-06", err.test_a_client_works_again_once_its_store_takes_calls),
    ],
)
def test_a_hook_that_does_nothing_keeps_nothing(id_: str, case: Callable[..., Any]) -> None:
    target = DoesNothing(RaisesWhatItMeets)
    store = Store(target.name, target, {}, Random(1))
    with pytest.raises(NotFoundOut, match="of the target"):
        asyncio.run(case(store, Check([id_])))


def test_a_cut_that_says_no_number_is_none() -> None:
    class Silent(type(HintsItsClients.target)):  # type: ignore[misc]
        async def cut_connections(self, config: dict[str, Any]) -> int | None:
            return None

    with pytest.raises(NotFoundOut, match="cut nothing"):
        asyncio.run(proven_cut(Silent(HintsItsClients), {"store": 1}))


@pytest.mark.parametrize("hours", [1, -1])
def test_a_skewed_clock_is_right_again_after_the_block(hours: int) -> None:
    by = timedelta(hours=hours)
    before = datetime.now(UTC)
    with skewed(by):
        inside = datetime.now(UTC)
        assert abs(inside - before - by) < timedelta(minutes=1)
        assert abs(time.time() - inside.timestamp()) < 60
        assert abs(time.time_ns() / 1e9 - inside.timestamp()) < 60
        assert abs(datetime.now().timestamp() - inside.timestamp()) < 60  # noqa: DTZ005  # local time is skewed as well
    assert abs(datetime.now(UTC) - before) < timedelta(minutes=1)
    assert abs(time.time() - before.timestamp()) < 60


def test_a_time_zone_holds_for_the_block_alone() -> None:
    before = datetime.now().astimezone().utcoffset()
    with in_zone("XXX-05:45"):
        assert datetime.now().astimezone().utcoffset() == timedelta(hours=5, minutes=45)
    assert datetime.now().astimezone().utcoffset() == before
