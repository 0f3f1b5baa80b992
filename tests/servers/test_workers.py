"""What is true of worker processes on SQLite is true of them on every server: the same tests."""

from __future__ import annotations

import pytest
from acceptance.test_drain import (
    test_a_signalled_worker_lets_its_tasks_end_and_claims_nothing_more,
    test_what_does_not_end_within_the_drain_timeout_is_given_back_unspent,
)
from acceptance.test_kill import test_what_a_killed_worker_ran_runs_again_elsewhere_and_ends_once
from acceptance.test_life import test_eight_workers_start_at_once_on_a_new_database_and_share_the_work
from acceptance.test_zombie import (
    test_a_worker_that_was_stopped_too_long_cannot_write_and_goes_on_working,
    test_an_outcome_from_before_the_stop_is_refused_when_it_comes_late,
)

__all__ = (
    "test_a_signalled_worker_lets_its_tasks_end_and_claims_nothing_more",
    "test_a_worker_that_was_stopped_too_long_cannot_write_and_goes_on_working",
    "test_an_outcome_from_before_the_stop_is_refused_when_it_comes_late",
    "test_eight_workers_start_at_once_on_a_new_database_and_share_the_work",
    "test_what_a_killed_worker_ran_runs_again_elsewhere_and_ends_once",
    "test_what_does_not_end_within_the_drain_timeout_is_given_back_unspent",
)

pytestmark = pytest.mark.anyio
