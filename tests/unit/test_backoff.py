from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litestar_queues import ExponentialBackoff, FixedBackoff, QueueConfigurationError


def always(value: float) -> Callable[[], float]:
    return lambda: value


def test_a_fixed_wait_is_the_same_after_every_failure() -> None:
    assert [FixedBackoff(5).delay(attempt) for attempt in (1, 2, 50)] == [5, 5, 5]


def test_jitter_chooses_around_the_wait() -> None:
    backoff = FixedBackoff(10, jitter=0.1)
    assert backoff.delay(1, rand=always(0.0)) == pytest.approx(9)
    assert backoff.delay(1, rand=always(0.5)) == pytest.approx(10)
    assert backoff.delay(1, rand=always(1.0)) == pytest.approx(11)


def test_an_exponential_wait_grows_by_the_factor_up_to_the_longest() -> None:
    backoff = ExponentialBackoff(first=2, factor=3, longest=50, jitter=0)
    assert [backoff.delay(attempt) for attempt in (1, 2, 3, 4, 5)] == [2, 6, 18, 50, 50]


def test_the_usual_wait_grows_from_one_second_to_an_hour() -> None:
    backoff = ExponentialBackoff()
    assert [backoff.delay(a, rand=always(0.5)) for a in (1, 2, 3, 12, 13, 30)] == [1, 2, 4, 2048, 3600, 3600]


@given(st.integers(1, 100_000), st.floats(0, 0.999))
@settings(max_examples=50)
def test_no_attempt_is_too_late_for_a_wait(attempt: int, chosen: float) -> None:
    assert 0 <= ExponentialBackoff(longest=100, jitter=0.5).delay(attempt, rand=always(chosen)) <= 150


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: FixedBackoff(-1), "seconds"),
        (lambda: FixedBackoff(float("nan")), "seconds"),
        (lambda: FixedBackoff(float("inf")), "seconds"),
        (lambda: FixedBackoff(1, jitter=1.1), "jitter"),
        (lambda: ExponentialBackoff(first=-1), "first"),
        (lambda: ExponentialBackoff(factor=0.5), "factor"),
        (lambda: ExponentialBackoff(longest=float("inf")), "longest"),
        (lambda: ExponentialBackoff(jitter=-0.1), "jitter"),
    ],
)
def test_a_wait_that_cannot_be_is_refused_by_name(make: Callable[[], Any], word: str) -> None:
    with pytest.raises(QueueConfigurationError, match=f"the backoff's {word} must lie between"):
        make()
