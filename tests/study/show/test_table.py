"""Declared columns and rows become one table, in a terminal as in a report."""

import json
from dataclasses import dataclass

from study.show import terminal
from study.show.columns import fields, grid, label, number, sentence, words
from study.show.table import Cell, hole


@dataclass(frozen=True, kw_only=True)
class Run:
    slug: str
    loss_tokens: int
    parent: str | None = None


RUNS = (
    Run(slug="a", loss_tokens=5),
    Run(slug="longer", loss_tokens=1200, parent="a"),
    Run(slug="b", loss_tokens=1200),
)
COLUMNS = (
    label("run", lambda run: run.slug),
    number("loss tokens", lambda run: f"{run.loss_tokens:,}"),
    *fields("parent"),
)


def test_head_and_cells_stand_in_the_order_of_the_columns():
    found = grid(COLUMNS, RUNS, caption="runs")
    assert found.head == (("run", "w"), ("loss tokens", "n"), ("parent", ""))
    assert [[cell.text for cell in row.cells] for row in found.rows] == [
        ["a", "5", ""],
        ["longer", "1,200", "a"],
        ["b", "1,200", ""],
    ]
    assert found.caption == "runs"


def test_a_cell_keeps_its_style_and_link():
    columns = (
        sentence("what", lambda run: hole("planned")),
        words("where", lambda run: Cell(text=run.slug, href="#a")),
    )
    (row,) = grid(columns, RUNS[:1]).rows
    assert row.cells == (Cell(text="planned", style="hole"), Cell(text="a", href="#a"))


def test_rows_are_set_off_where_their_block_changes():
    found = grid(
        COLUMNS,
        RUNS,
        style=lambda run: "off" if run.parent is None else "",
        block=lambda run: run.loss_tokens,
    )
    assert [row.style for row in found.rows] == ["off", "block", "off"]


def test_rows_without_a_block_stand_together():
    assert [row.style for row in grid(COLUMNS, RUNS).rows] == ["", "", ""]


def test_fields_are_named_as_people_read_them():
    (column,) = fields("loss_tokens")
    assert column.name == "loss tokens"


def test_a_terminal_has_numbers_on_the_right(capsys):
    terminal.show(COLUMNS, RUNS)
    assert capsys.readouterr().out.splitlines() == [
        "run     loss tokens  parent",
        "a                 5",
        "longer        1,200  a",
        "b             1,200",
    ]


def test_a_table_without_rows_is_its_head(capsys):
    terminal.show(COLUMNS, ())
    assert capsys.readouterr().out == "run  loss tokens  parent\n"


def test_json_has_every_field_of_every_row(capsys):
    terminal.values({"runs": RUNS})
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "runs": [
            {"slug": "a", "loss_tokens": 5, "parent": None},
            {"slug": "longer", "loss_tokens": 1200, "parent": "a"},
            {"slug": "b", "loss_tokens": 1200, "parent": None},
        ]
    }
