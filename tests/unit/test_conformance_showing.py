"""What a failing case prints: enough to know what is wrong, on one screen."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SCREEN = 40
# By the store's own time, each case would fail a second time: here, one failure is enough.
HEAD = """
import pytest
from litestar_queues_conformance import Check, Store, Violation, guarantee
"""


@pytest.fixture(params=["given", "store"])
def mode(request: pytest.FixtureRequest) -> str:
    return f"--queue-time={request.param}"


def shown(pytester: pytest.Pytester, case: str, *arguments: str) -> list[str]:
    """The lines of the only failure."""
    pytester.makepyfile(test_one=HEAD + case)
    result = pytester.runpytest("-p", "no:cacheprovider", "--backend=memory", "test_one.py", *arguments)
    result.assert_outcomes(failed=1)
    lines = result.stdout.lines
    begin = next(i for i, line in enumerate(lines) if line.startswith("====") and " FAILURES " in line)
    end = next(i for i, line in enumerate(lines) if i > begin and line.startswith("====="))
    return lines[begin + 1 : end]


TWENTY_TWO = """
@guarantee("KEY-01")
async def test_many(store: Store, check: Check) -> None:
    actor = await store.actor()
    found = [one.record for one in await actor.enqueue_many(store.new_tasks(22, args='["' + "x" * 2**20 + '"]'))]
    # A case can be long. It can
    # have many lines, none of
    # which says more than the
    # one that failed.
    check.equal("KEY-01", [one.evolve(fence=7) for one in found], found, "what was found")
"""


def test_twenty_two_records_that_differ_fit_on_a_screen(pytester: pytest.Pytester, mode: str) -> None:
    lines = shown(pytester, TWENTY_TWO, mode)
    assert len(lines) < 8
    assert "check.equal(" in lines[2]
    assert "KEY-01: what was found: 22 entries differ: [0] fence of" in lines[3]
    assert "is 7, not 0" in lines[3]
    assert all(len(line) < 2000 for line in lines)


def test_the_same_is_shown_of_a_failure_in_a_worker_of_xdist(pytester: pytest.Pytester, mode: str) -> None:
    lines = shown(pytester, TWENTY_TWO, mode, "-n", "1")
    assert len(lines) < 12
    assert any("22 entries differ" in line for line in lines)


def test_an_error_of_the_backend_is_shown_from_the_case_on_without_its_middle(
    pytester: pytest.Pytester, mode: str
) -> None:
    lines = shown(
        pytester,
        """
def deep(n: int) -> None:
    if n:
        deep(n - 1)
    print(*range(500), sep="\\n")
    print("x" * 100_000)
    raise RuntimeError("x" * 100_000)

@guarantee("KEY-01")
async def test_raises(store: Store, check: Check) -> None:
    deep(60)
""",
        mode,
    )
    assert len(lines) < SCREEN + 30
    assert "in test_raises" in lines[1]
    assert any("RuntimeError: xxx" in line and "(100,0" in line for line in lines)
    assert all(len(line) < 2000 for line in lines)


def test_a_history_of_the_state_machine_is_shown_whole(pytester: pytest.Pytester, mode: str) -> None:
    lines = shown(
        pytester,
        """
@guarantee("KEY-01")
async def test_noted(store: Store, check: Check) -> None:
    error = Violation("KEY-01: wrong")
    for step in range(50):
        error.add_note(f"step {step}")
    raise error
""",
        mode,
    )
    assert [line for line in lines if "step 0" in line]
    assert [line for line in lines if "step 49" in line]


def test_another_style_is_pytests_own(pytester: pytest.Pytester, mode: str) -> None:
    lines = shown(pytester, TWENTY_TWO, mode, "--tb=long")
    assert any("A case can be long" in line for line in lines)


def test_other_tests_of_the_run_fail_as_ever(pytester: pytest.Pytester) -> None:
    lines = shown(pytester, "\ndef test_mine():\n    one = 1\n    assert one == 2\n")
    assert any(line.startswith(">") and "assert one == 2" in line for line in lines)
