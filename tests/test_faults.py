"""The table of faults names tests that are there."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROWS = [line for line in (HERE / "FAULTS.md").read_text().splitlines() if re.match(r"\| \d", line)]


def named(row):
    """(file, beginning of a test's name or "") of every test in a row's last column."""
    file = ""
    for text in re.findall(r"`([^`]+)`", row.split("|")[4]):
        before, mark, name = text.partition(": ")
        if mark or before.startswith("test_") or "/test_" in before:
            file = before
        else:
            name = before
        yield file, name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[2].strip()[:40])
def test_a_row_names_tests_that_are_there(row):
    found = list(named(row))
    assert found
    for file, name in found:
        at = HERE / (file if file.startswith("eval/") else f"study/{file}")
        text = at.with_suffix(".py").read_text()
        whole = name.rstrip("…")
        end = "" if whole != name else r"\("
        assert not name or re.search(rf"def test_{whole}{end}", text), f"{file} has no {name}"


def test_every_row_is_there():
    numbers = {int(row.split("|")[1]) for row in ROWS}
    assert numbers == {*range(1, 31)}
