"""Prints what each validator makes of our statements, and of the wrong ones: `python -m oracle_lab`, in `tests`."""

from __future__ import annotations

import sys

from litestar_queues.backends.sql.families import ORACLE, statements_of
from oracle_lab.corpus import WRONG
from oracle_lab.validators import VALIDATORS


def say(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """1 if one of our own statements is refused, or a wrong one passes."""
    statements = statements_of(ORACLE)
    caught: dict[str, list[bool]] = {}
    refused = 0
    for validator in VALIDATORS:
        if (missing := validator.missing()) is not None:
            say(f"not run: {validator.name}: {missing}")
            continue
        for name, said in zip(statements, validator.complaints([one.text for one in statements.values()]), strict=True):
            if said is not None:
                refused += 1
                say(f"{validator.name} refuses {name}: {said}")
        caught[validator.name] = [said is not None for said in validator.complaints([one.text for one in WRONG])]
    width = max(len(one.what) for one in WRONG)
    say(f"\n{'':{width}}  {'  '.join(caught)}")
    for place, one in enumerate(WRONG):
        marks = ("x" if answers[place] else "." for answers in caught.values())
        say(f"{one.what:{width}}  {'  '.join(mark.ljust(len(name)) for mark, name in zip(marks, caught, strict=True))}")
    counts = (f"{name} {sum(answers)}" for name, answers in caught.items())
    say(
        f"\nof {len(WRONG)} wrong statements: {', '.join(counts)}; of our {len(statements)} statements: {refused} refused"
    )
    say("Oracle itself: not run")
    missed = [one.what for place, one in enumerate(WRONG) if not any(answers[place] for answers in caught.values())]
    return int(bool(refused or missed))


if __name__ == "__main__":
    sys.exit(main())
