from __future__ import annotations

import pytest

pytest.register_assert_rewrite("acceptance")  # whose tests run elsewhere, too


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--on",
        action="append",
        default=[],
        metavar="ADAPTER[@SERVER]",
        help="where tests/servers and tests/upgrade run, instead of on all of their list that can be had: --on=asyncpg@postgresql15",
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
