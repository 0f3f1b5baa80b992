"""What `docs/how-to/testing.md` shows works when it is pasted into the files that it names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from page_lab import STRICT

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "testing.md").read_text()
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))


def test_every_sample_is_a_file_and_every_test_in_them_passes(tmp_path: Path) -> None:
    assert len(FILES) == PAGE.count("```python") == 11
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    plugins = ("-p", "no:cacheprovider", "-p", "no:litestar_queues_conformance")
    command = [sys.executable, "-m", "pytest", "-q", *STRICT, *plugins]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    tests = sum(text.count("def test_") for text in FILES.values())
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr


def test_the_failing_assertion_of_the_page_is_the_real_one(tmp_path: Path) -> None:
    shown = re.search(r"^```text\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert shown is not None
    for name in ("shop.py", "conftest.py"):
        (tmp_path / name).write_text(FILES[name])
    (tmp_path / "test_wrong.py").write_text(
        "from shop import send_welcome\n\ndef test_wrong(client, queue_tester):\n"
        '    client.post("/signup/bob@example.org")\n'
        '    queue_tester.assert_enqueued(send_welcome, "ada@example.org")\n'
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:litestar_queues_conformance"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    told = "\n".join(line.removeprefix("E   ").strip() for line in done.stdout.splitlines())
    assert all(line.strip() in told for line in shown[1].splitlines()), done.stdout
