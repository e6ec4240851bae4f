"""The report's sections of statistics, over made-up panels: what they print and when they are not
there.
"""

from dataclasses import replace
from types import SimpleNamespace

import made_reports
import numpy as np
import pytest
from made_claims import paper_claims

from eval.claims.comparison import compare, interval
from eval.claims.decided import Block
from eval.claims.verdicts import decide
from eval.evidence import table
from eval.evidence.estimates import OwnRuns
from eval.report.material import Material
from eval.report.sections import checks, claims, differences, registry, scores, tasks
from study.language.reporting import sections
from study.runs.node import Evaluation
from study.show.table import Details, Grid, Text
from study.store.directory import Store


@pytest.fixture
def material_of(tmp_path):
    def make(*panels):
        return Material(
            sweep=SimpleNamespace(path=tmp_path, title="t", runs=(), module=None),  # type: ignore[arg-type]
            store=Store(tmp_path / "runs"),
            panels=panels,
            scores=table.build(panels),
            claims=(),
            verdicts=(),
            out_dir=tmp_path,
        )

    return make


@pytest.fixture
def made(panel_of, key_of):
    """Two cells, three seeds, two templates; tasks that views leave out."""
    rng = np.random.default_rng(0)
    answers = [(rng.random((2, 3, 2, 40)) < 0.7).astype(float) for _ in range(3)]
    noise = lambda values: rng.random(values.shape)  # noqa: E731
    return panel_of(
        answers,
        [key_of("CD:FLM"), key_of("CD:FLM", finetuned=True)],
        names=("lambada", "sciq", "rte"),
        margin=noise,
        brier=noise,
        correct_without_context=lambda values: 0 * values + 0.5,
    )


SECTIONS = (
    scores.measures_section,
    differences.variance_section,
    tasks.prompts_section,
    checks.leakage_section,
)


def grids(section):
    def inside(blocks):
        for each in blocks:
            if isinstance(each, Grid):
                yield each
            elif isinstance(each, Details):
                yield from inside(each.blocks)

    return list(inside(section.blocks))


def cells(grid):
    return [[cell.text for cell in row.cells] for row in grid.rows]


def test_every_section_is_registered_once():
    for section_of in SECTIONS:
        assert registry.SECTIONS.count(section_of) == 1


def test_grids_are_whole_and_captioned(made, material_of):
    for section_of in SECTIONS:
        section = section_of(material_of(made))
        assert grids(section)
        for grid in grids(section):
            assert grid.caption
            assert all(len(row.cells) == len(grid.head) for row in grid.rows)
            assert not any(text in ("nan", "inf", "None") for row in cells(grid) for text in row)


def test_measures_print_the_table_s_own_numbers(made, material_of):
    material = material_of(made)
    suite, by_task = grids(scores.measures_section(material))
    row = next(each for each in material.scores.rows if each.task == table.SUITE)
    shown = cells(suite)[0]
    assert shown[4] == f"{100 * row.value:.1f}"
    assert shown[6] == f"{100 * row.wilson_low:.1f} to {100 * row.wilson_high:.1f}"
    assert shown[7] == f"{row.of('gold_nats_per_byte').value:.3f}".replace("-", "−")
    margin = row.of("margin")
    assert shown[9:11] == [f"{margin.value:.3f}", f"{margin.low:.3f} to {margin.high:.3f}"]
    assert len(by_task.rows) == 6


def test_spread_has_a_line_a_task_and_one_of_the_suite(made, material_of):
    (grid,) = grids(differences.variance_section(material_of(made)))
    assert [row[1] for row in cells(grid)] == ["lambada", "sciq", "rte", "(suite)"] * 2


def test_prompts_stand_beside_their_context_free_accuracy(made, material_of):
    summary, every = grids(tasks.prompts_section(material_of(made)))
    assert len(summary.rows) == 2 * 3 * 2
    assert {row[5] for row in cells(summary)} == {"50.0"}
    assert len(every.rows) == 12


def test_leakage_has_views_and_says_what_is_not_counted(made, material_of):
    section = checks.leakage_section(material_of(made))
    (views,) = [each for each in grids(section) if each.caption.startswith("Scores over part")]
    assert [name for name, _ in views.head[3:7]] == [
        "all tasks, %",
        "without LAMBADA, %",
        "without leaked tasks, %",
        "without either, %",
    ]
    assert any(isinstance(each, Text) and "by construction" in each.text for each in section.blocks)


def test_the_paper_s_suites_bring_the_baselines():
    def guessing(suite):
        runs = [run for run in made_reports.study(1) if isinstance(run, Evaluation)]
        runs = [replace(run, suite=replace(run.suite, name=suite)) for run in runs]
        return sections(runs, store=None)

    (eai,), (t0,) = guessing("eai"), guessing("t0")
    means, entries = grids(eai)
    assert [row[2:4] for row in cells(means)] == [
        ["32.9", "32.88"],
        ["33.3", "33.36"],
        ["–", "32.82"],
    ]
    assert len(entries.rows) == 4
    assert cells(grids(t0)[-1])[0][2:4] == ["41.7", "41.67"]
    assert guessing("micro") == ()


def test_nothing_scored_is_no_section(panel_of, key_of, material_of):
    for section_of in SECTIONS:
        assert section_of(material_of()) is None
    panel = panel_of([np.full((1, 1, 1, 4), np.nan)], [key_of("a")])
    assert scores.measures_section(material_of(panel)) is None
    assert tasks.prompts_section(material_of(panel)) is None


def test_claims_unfold_their_contrasts_as_they_were_decided(panel_of, key_of, material_of):
    """The first contrast that ran, column by column, and one that did not."""
    rng = np.random.default_rng(0)
    answers = [(rng.random((2, 3, 1, 80)) < 0.7).astype(float) for _ in range(2)]
    panel = panel_of(answers, [key_of("CD:FLM"), key_of("ED:PLM")])
    verdicts = decide(paper_claims("s", 0.05), OwnRuns({"s": panel}, decided=1))
    block = Block(name="m", verdicts=verdicts, other_option=(), spread="")
    section = claims.claims_section(replace(material_of(panel), verdicts=(block,)))
    (table_of_claims,) = grids(section)
    assert [row[0] for row in cells(table_of_claims)] == [each.claim.id for each in verdicts]
    assert [row[2] for row in cells(table_of_claims)] == [each.verdict for each in verdicts]
    unfolded = [row.more.blocks[0] for row in table_of_claims.rows]
    pairs = [
        (found, alpha, dict(zip((name for name, _ in grid.head), row, strict=True)))
        for each, grid in zip(verdicts, unfolded, strict=True)
        for found, row, alpha in zip(
            each.components, cells(grid), [each.alpha] * len(each.components), strict=True
        )
    ]
    ran = [each for each in pairs if each[0].estimate is not None]
    assert 0 < len(ran) < len(pairs)
    for found, alpha, row in ran:
        told = compare(found, alpha=alpha)
        assert row["difference, points"] == f"{100 * found.estimate.value:+.1f}"
        assert row["interval at the claim's level"] == interval(told)
        assert row["margin"] == f"{100 * found.contrast.margin:.1f}"
        assert row["verdict"] == found.verdict
        assert row["what would decide it"] == (told.more or "–")
        assert "3 seeds" in row["rests on"]
    for found, _, row in pairs:
        if found.estimate is None:
            assert row["difference, points"] == found.missing
            assert (row["interval at the claim's level"], row["verdict"]) == ("–", "not run")
