"""The mutators: what each makes is a text of its language, and tests kill what they look at, and nothing else."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from mutate import lua, python, sql  # the mutants are no package of the environment
from mutate.judge import ROOT, Court, Judge, NoCourt, Verdict
from mutate.main import main, mutants_of, run
from mutate.mutant import Mutant, sampled
from mutate.page import page
from mutate.results import Book, equivalents, summary
from mutate.table import TABLE

PYTHON = '''\
"""A module."""

import logging

__all__ = ("a",)
_log = logging.getLogger("x")
PAIR = ("a", "b")


def first(left: int, right: int = 3, *, given: bool = True) -> int | None:
    """A function."""
    _log.info("not %d", 1)
    if left < right and not given:
        return max(left, right) + 1
    left += 2
    print(left)
    return None


async def second(x: dict[str, int]) -> None:
    for key in x:
        if key in ("a", "b") or x[key] is None:
            continue
        await third({"k": 1, "l": None})
        raise ValueError("no")
'''
SQL = """\
-- name: create_table
CREATE TABLE t (queue TEXT, due_at TEXT, expires_at TEXT, fence INTEGER, state TEXT, id INTEGER,
    heartbeat_at TEXT, priority INTEGER)

-- fragment: due
due_at <= :now
AND (expires_at IS NULL OR expires_at > :now)

-- name: take
UPDATE t SET fence = fence + 1, state = 'running'
WHERE rowid IN (
    SELECT rowid FROM t WHERE state = 'pending' AND NOT EXISTS (SELECT 1 FROM t AS o WHERE o.id < t.id)
    ORDER BY due_at DESC, id LIMIT :limit
)
RETURNING id

-- A comment AND another.

-- name: look
SELECT coalesce(max(due_at), :now), count(*) FROM t
WHERE state IN ('pending', 'scheduled') AND expires_at IS NOT NULL AND fence > 0 OR id = 7
"""
LOCKING = """\
-- name: lock
SELECT id FROM t WHERE state = 'pending' ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: slotted
SELECT id FROM t WHERE state = 'pending' /* slot: skip_locked */
"""
LUA = """\
#!lua flags=allow-oom
-- A comment and another.
local now = 3

local function take(record, limit)
    local set = {
        id = record.id,
        state = 'running and not',
    }
    if record and not record.gone and limit > 0 then
        call('SET', record.id, math.min(limit, 2))
        record.state = 'taken'
        return true
    end
    while limit == 1 do
        limit = limit - 1
    end
    return set
end

return take(asked, now)
"""
MODULE = '''\
"""A module."""


def greater(left: int, right: int) -> int:
    """The greater of two."""
    if left > right:
        return left
    return right


def count(to: int) -> int:
    """Counts."""
    at = 0
    while at < to:
        at += 1
    return at
'''
TESTS = """\
from pathlib import Path

from small.module import count, greater


def test_counts():
    with (Path(__file__).parent / "runs").open("a") as runs:
        runs.write("run\\n")
    assert count(3) == 3


def test_greater():
    assert greater(2, 1) == 2
"""


def operators(mutants: Iterable[Mutant]) -> set[str]:
    return {one.mutation.partition(":")[0] for one in mutants}


def changes(mutants: Iterable[Mutant]) -> set[str]:
    return {one.mutation for one in mutants}


def test_each_mutant_of_python_is_python_and_another_program() -> None:
    mutants = python.mutants("m.py", PYTHON)
    original = ast.dump(ast.parse(PYTHON))
    for one in mutants:
        assert ast.dump(ast.parse(one.text)) != original, one
    assert operators(mutants) == {
        "and/or", "arithmetic", "comparison", "constant", "drop a condition", "drop a not", "drop a statement",
        "drop an element", "force a condition", "one of the arguments", "opposite function", "return None", "return at once",
    }  # fmt: skip


def test_a_mutant_of_python_is_what_its_name_says() -> None:
    assert changes(python.mutants("m.py", PYTHON)) >= {
        "comparison: < -> <=",
        "comparison: is -> is not",
        "and/or: and -> or",
        "drop a not: not given -> given",
        "force a condition: left < right and not given -> False",
        "constant: True -> False",
        "constant: 3 -> 4",
        "constant: 3 -> 2",
        "constant: None -> 0",
        "arithmetic: += -> -=",
        "opposite function: max -> min",
        "one of the arguments: max(left, right) -> left",
        'drop a statement: await third({"k": 1, "l": None}) -> pass',
        "drop a statement: continue -> pass",
        """drop an element: "k": 1, "l": None -> "l": None,""",
        'drop an element: "a", "b" -> "b",',
        "return None: max(left, right) + 1 -> None",
    }


def test_texts_annotations_imports_and_logs_stay_as_they_are() -> None:
    lines = {one.line for one in python.mutants("m.py", PYTHON)}
    for untouched in ('"""A module."""', "import logging", '__all__ = ("a",)'):
        assert untouched not in lines
    assert not any("_log" in one.mutation for one in python.mutants("m.py", PYTHON))
    assert not any("-> int" in one.mutation.partition("->")[0] for one in python.mutants("m.py", PYTHON))


def test_letters_beyond_ascii_shift_no_change() -> None:
    (forced, *_) = python.mutants("m.py", "def f(x):\n    return 'äöü' + x\n")
    texts = {one.text for one in python.mutants("m.py", "def f(x):\n    y = 'äöü' if x else 0\n    return y\n")}
    assert "def f(x):\n    y = 'äöü' if True else 0\n    return y\n" in texts
    assert forced.number in {1, 2}


def _statements(text: str) -> dict[str, str]:
    parts = re.split(r"^-- (?:name|fragment): (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {
        name: re.sub(r"^--.*\n", "", body, flags=re.MULTILINE)
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_each_mutant_of_sql_is_sql_and_another_statement() -> None:
    mutants = sql.mutants("m.sql", SQL)
    database = sqlite3.connect(":memory:")
    database.execute(_statements(SQL)["create_table"])
    for one in mutants:
        assert " ".join(one.text.split()) != " ".join(SQL.split())
        statements = _statements(one.text)
        due = f"SELECT id FROM t WHERE {statements.pop('due')}"
        assert statements.pop("create_table") == _statements(SQL)["create_table"], "the schema stays"
        for statement in (due, *statements.values()):
            database.execute(f"EXPLAIN {statement}", {"now": "", "limit": 1})
    database.close()
    assert operators(mutants) == {
        "add a not", "and/or", "another column", "arithmetic", "comparison", "constant", "drop a condition", "drop a not",
        "drop an assignment", "drop an element", "drop from the order", "limit", "null test", "one of the arguments",
        "opposite function", "order",
    }  # fmt: skip


def test_a_mutant_of_sql_is_what_its_name_says() -> None:
    assert changes(sql.mutants("m.sql", SQL)) >= {
        "drop a condition: due_at <= :now -> true",
        "drop a condition: expires_at IS NULL -> false",
        "drop a condition: state = 'pending' -> true",
        "null test: NULL -> NOT NULL",
        "null test: NOT -> nothing",
        "drop a not: NOT -> nothing",
        "order: DESC -> nothing",
        "order: nothing -> DESC",
        "drop from the order: due_at DESC, -> nothing",
        "limit: LIMIT :limit -> nothing",
        "limit: nothing -> + 1",
        "drop an assignment: , state = 'running' -> nothing",
        "another column: due_at -> expires_at",
        "one of the arguments: coalesce(max(due_at), :now) -> (:now)",
        "drop an element: 'pending', -> nothing",
        "opposite function: max -> min",
    }
    assert changes(sql.mutants("m.sql", LOCKING)) >= {
        "drop a lock: FOR UPDATE SKIP LOCKED -> nothing",
        "drop a lock: SKIP LOCKED -> nothing",
        "drop a lock: /* slot: skip_locked */ -> nothing",
    }


def test_an_assignment_is_no_comparison() -> None:
    texts = [one.text for one in sql.mutants("m.sql", SQL)]
    assert not any("fence <> fence + 1" in text or "state <> 'running'" in text for text in texts)


def _is_balanced(text: str) -> bool:
    """Whether each block and each bracket of a Lua script is closed."""
    text = re.sub(r"--[^\n]*|#![^\n]*|'(?:\\.|[^'\\])*'", "''", text)
    words = re.findall(r"[A-Za-z_]\w*|[^\s\w]", text)
    opened = sum(word in {"function", "if", "do"} for word in words)
    pairs = all(words.count(left) == words.count(right) for left, right in ("()", "[]", "{}"))
    return opened == words.count("end") and pairs and words.count("then") == words.count("if") + words.count("elseif")


@pytest.mark.parametrize("file", [None, *sorted(file for file in TABLE if file.endswith(".lua"))])
def test_each_mutant_of_lua_closes_what_it_opens_and_is_another_script(file: str | None) -> None:
    source = LUA if file is None else (ROOT / file).read_text(encoding="utf-8")
    assert _is_balanced(source)
    for one in lua.mutants("m.lua", source):
        assert _is_balanced(one.text), one
        assert " ".join(one.text.split()) != " ".join(source.split())


def test_a_mutant_of_lua_is_what_its_name_says() -> None:
    mutants = lua.mutants("m.lua", LUA)
    assert operators(mutants) == {
        "and/or", "arithmetic", "comparison", "constant", "drop a condition", "drop a not", "drop a statement",
        "drop an entry", "force a condition", "opposite function",
    }  # fmt: skip
    assert changes(mutants) >= {
        "drop an entry: state = 'running and not', -> nothing",
        "drop a statement: call('SET', record.id, math.min(limit, 2)) -> do end",
        "drop a statement: record.state = 'taken' -> do end",
        "drop a condition: not record.gone -> true",
        "force a condition: record and not record.gone and limit > 0 -> true",
        "force a condition: limit == 1 -> false",
        "opposite function: math.min -> math.max",
        "comparison: > -> >=",
    }
    assert {one.where for one in mutants} == {"take", "the script"}


@pytest.mark.parametrize("file", sorted(file for file in TABLE if file.endswith(".py")))
def test_mutants_of_the_package_are_python(file: str) -> None:
    mutants = mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))
    for one in sampled(mutants, 10, seed=7):
        compile(one.text, file, "exec", dont_inherit=True)


@pytest.mark.parametrize("file", sorted(TABLE))
def test_the_files_of_the_table_and_the_tests_that_judge_them_are_there(file: str) -> None:
    assert all((ROOT / test).is_file() for test in TABLE[file].tests)
    mutants = mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))
    assert len({one.key for one in mutants}) == len(mutants)
    assert mutants or file.endswith("now.lua")


def test_a_sample_is_the_same_again_and_another_by_another_seed() -> None:
    mutants = python.mutants("m.py", PYTHON)
    first, again, other = (sampled(mutants, 10, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert sampled(mutants, 1000, seed=1) == mutants


def test_each_equivalent_mutant_is_still_made_and_has_a_reason() -> None:
    """One whose line has changed is to be looked at again."""
    sources = {key[0] for key in equivalents()}
    made = {one.key for file in sources for one in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))}
    assert set(equivalents()) - made == set()
    assert all(len(reason) > 20 for reason in equivalents().values())


# What judges them


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project of one module, of which one half is tested well."""
    root = tmp_path / "checkout"
    (root / "src" / "small").mkdir(parents=True)
    (root / "src" / "small" / "__init__.py").touch()
    (root / "src" / "small" / "module.py").write_text(MODULE)
    (root / "test_module.py").write_text(TESTS)
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return root


FILE = "src/small/module.py"
JUDGE = Judge(tests=("test_module.py",))


def of(change: str) -> Mutant:
    (found,) = (one for one in python.mutants(FILE, MODULE) if one.mutation == change)
    return found


def judged(checkout: Path, *mutants: Mutant, stall: float = 60, out: str = "out.jsonl") -> list[Verdict]:
    book = Book(checkout / out)
    verdicts = run(JUDGE, FILE, mutants, book, root=checkout, package="small", stall=stall)
    return [verdicts[one.key] for one in mutants]


def test_a_test_kills_the_mutant_that_it_looks_at_and_no_other(checkout: Path) -> None:
    killed, survivor = of("force a condition: left > right -> False"), of("force a condition: left > right -> True")
    assert judged(checkout, killed, survivor) == [Verdict.KILLED, Verdict.SURVIVED]
    assert (checkout / FILE).read_text() == MODULE, "the checkout stays as it is"
    assert {path.name for path in checkout.rglob("*")} == {
        "src", "small", "__init__.py", "module.py", "test_module.py", "pyproject.toml", "runs", "out.jsonl",
    }  # fmt: skip
    assert json.loads((checkout / "out.jsonl").read_text().splitlines()[0])["by"] == "test_module.py::test_greater"


def test_a_mutant_that_hangs_times_out(checkout: Path) -> None:
    assert judged(checkout, of("drop a statement: at += 1 -> pass"), stall=8) == [Verdict.TIMED_OUT]


def test_a_run_goes_on_where_the_last_one_was_and_runs_nothing_twice(checkout: Path) -> None:
    survivor = of("comparison: > -> >=")
    runs = checkout / "runs"
    killed = of("force a condition: left > right -> False")
    assert judged(checkout, killed) == [Verdict.KILLED]
    assert len(runs.read_text().split()) == 2, "once to see that they pass, and once for the mutant"
    with (checkout / "out.jsonl").open("a") as book:
        book.write('{"file": "src/sm')  # interrupted here
        book.write("\n")
    assert judged(checkout, killed, survivor) == [Verdict.KILLED, Verdict.SURVIVED]
    assert len(runs.read_text().split()) == 4, "once to see that they pass, and once for the other"
    assert judged(checkout, killed, survivor) == [Verdict.KILLED, Verdict.SURVIVED]
    assert len(runs.read_text().split()) == 4, "there is nothing to do"


def test_a_survivor_is_run_again_where_somebody_asks_for_it(checkout: Path) -> None:
    survivor = of("force a condition: left > right -> True")
    assert judged(checkout, survivor) == [Verdict.SURVIVED]
    tests = checkout / "test_module.py"
    tests.write_text(tests.read_text() + "    assert greater(1, 2) == 2\n")
    verdicts = run(JUDGE, FILE, [survivor], Book(checkout / "out.jsonl"), root=checkout, package="small", again=True)
    assert set(verdicts.values()) == {Verdict.KILLED}


def test_tests_that_fail_by_themselves_judge_nothing(checkout: Path) -> None:
    (checkout / "test_module.py").write_text("def test():\n    assert False\n")
    with pytest.raises(NoCourt, match="killed by test_module"):
        judged(checkout, of("comparison: > -> >="))


def test_a_run_that_would_test_another_copy_of_the_package_judges_nothing(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Court(JUDGE, FILE, folder, root=checkout, package="wave") as court, pytest.raises(NoCourt, match="come from"):
        court.judge(MODULE)


def test_a_known_survivor_is_counted_apart() -> None:
    mutants = [of("comparison: > -> >="), of("force a condition: left > right -> True")]
    verdicts = {one.key: Verdict.SURVIVED for one in mutants}
    score = summary("tests", mutants, verdicts, of=20, seed=1, known={mutants[0].key: "the same"})
    assert (score["equivalent"], [one["mutation"] for one in score["survived"]]) == (1, [mutants[1].mutation])
    assert "| `module.py` | 20 | 2 | 0 | 0 | 0 | 1 | 1 |" in page({"module.py": score}, {mutants[0].key: "the same"})


def test_an_unknown_file_is_refused_with_the_names_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--file", "nothing.py"])
    assert "backends/memory.py" in capsys.readouterr().err
