"""Which runs stand behind a number: every score down to its directory and digests.

Owns the anchor by which a table's number names its sources, and the links to run directories, which
are relative where the store lies beside the report and absent elsewhere.

Every answer behind a report can be downloaded from the page's folder, one Parquet file a suite.
What the answer is of stands in columns before the domain's own. The rows are the published ones,
unchanged; those that the report refuses (stale, other questions) are not in it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from eval.evidence.panel import Panel, ScoredRun
from eval.evidence.table import Row
from eval.report.figures.drawing import slug
from study.runs.reporting import Words
from study.show.columns import Columns, grid, label, number, words
from study.show.numbers import count
from study.show.table import Cell, Grid
from study.store.directory import RunDirectory, Store


@dataclass(frozen=True, kw_only=True)
class Source:
    """One published score. trained, trained_id: the run whose weights it is of; scores, weights,
    tasks: digests; link: the evaluation's directory relative to the report, or empty.
    """

    suite: str
    size: str
    cell: str
    stage: str
    tokens: int
    seed: int
    run: str
    id: str
    trained: str
    trained_id: str
    directory: str
    scores: str
    weights: str
    tasks: str
    scorer_version: str
    link: str = ""

    @property
    def anchor(self) -> str:
        return anchor(self.suite, self.size, self.cell, self.tokens)


def anchor(suite: str, size: str, cell: str, tokens: int) -> str:
    """The id in the page of the sources of one cell's scores on one suite."""
    # Slugs drop what tells `CD:FLM` from `CD FLM`; arrows and colons are said, the rest is lost.
    named = cell.replace("→", " to ").replace(":", "-")
    return f"from-{slug(suite, size, named, str(tokens))}"


def of_row(row: Row) -> str:
    """The link of a number of this row."""
    return f"#{anchor(row.suite, row.size, row.cell, row.tokens)}"


def sources(panels: Sequence[Panel], *, store: Store, out_dir: Path) -> list[Source]:
    """In the order of the table."""
    found = []
    for panel in panels:
        for key in panel.cells:
            for scored in panel.runs:
                if scored.key != key:
                    continue
                directory = store.directory(scored.run)
                results = scored.results or {}
                digests = results["digests"]
                done = RunDirectory(directory).done() or {}
                found.append(
                    Source(
                        suite=panel.suite,
                        size=panel.size,
                        cell=key.label,
                        stage=key.stage_label,
                        tokens=key.tokens,
                        seed=scored.seed,
                        run=scored.run.slug,
                        id=scored.run.id[:12],
                        trained=scored.run.run.slug,
                        trained_id=scored.run.run.id[:12],
                        directory=directory.name,
                        scores=str(done.get("scores", "")),
                        weights=str(digests["weights"]),
                        tasks=str(digests["tasks"]),
                        scorer_version=str(results["scorer_version"]),
                        link=relative(directory, out_dir=out_dir),
                    )
                )
    return found


def relative(path: Path, *, out_dir: Path) -> str:
    """A link from the report to this path, or empty where the store is not beside the report, that
    is, not under the folder of the report's folder or the one above it.
    """
    here, there = Path(out_dir).resolve(), path.resolve()
    if not any(
        there.is_relative_to(each) for each in list(here.parents)[:2] if each != each.parent
    ):
        return ""
    return quote(Path(os.path.relpath(there, here)).as_posix()) + "/"


def source_csv(found: Sequence[Source]) -> str:
    """Every source in full, one row a published score."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([each.name for each in fields(Source)])
    writer.writerows(astuple(each) for each in found)
    return out.getvalue()


def source_grid(found: Sequence[Source], *, named: Words) -> Grid:
    """The first line of each cell carries the anchor that its numbers link to."""
    columns: Columns[Source] = (
        label("lineage", lambda each: each.cell),
        words("suite", lambda each: each.suite),
        number(named.budget, lambda each: count(each.tokens)),
        number("seed", lambda each: str(each.seed)),
        label("evaluation (its directory)", lambda each: Cell(text=each.run, href=each.link)),
        label("id", lambda each: each.id),
        label("weights of run", lambda each: f"{each.trained} ({each.trained_id})"),
        label("scores digest", lambda each: each.scores[:16]),
        label("weights digest", lambda each: each.weights[:12]),
        number("scorer version", lambda each: each.scorer_version),
    )
    plain = grid(columns, found, caption="The runs behind each number of the score tables")
    first = {each.anchor: place for place, each in reversed(list(enumerate(found)))}
    rows = list(plain.rows)
    for name, place in first.items():
        rows[place] = replace(rows[place], anchor=name)
    return replace(plain, rows=tuple(rows))


NAMED = ("suite", "size", "cell", "tokens_before_finetuning", "seed", "evaluation")


def items(panels: Sequence[Panel]) -> dict[str, bytes]:
    """File name -> Parquet, in the order of the panels; none of a suite without scores."""
    found: dict[str, list[tuple[Panel, ScoredRun]]] = {}
    for panel in panels:
        for scored in panel.runs:
            found.setdefault(panel.suite, []).append((panel, scored))
    return {f"items/{slug(suite)}.parquet": _parquet(scores) for suite, scores in found.items()}


def _parquet(scores: Sequence[tuple[Panel, ScoredRun]]) -> bytes:
    out = io.BytesIO()
    writer: pq.ParquetWriter | None = None
    for panel, scored in scores:
        table = _named(panel, scored)
        # Row groups of one score each: a reader of one cell reads no other.
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None, "a suite without scores has no file"
    writer.close()
    return out.getvalue()


def _named(panel: Panel, scored: ScoredRun) -> pa.Table:
    assert scored.table is not None
    table = scored.table
    values = (
        panel.suite,
        panel.size,
        scored.key.label,
        scored.key.tokens,
        scored.seed,
        scored.run.id,
    )
    for place, (name, value) in enumerate(zip(NAMED, values, strict=True)):
        kind = pa.int64() if isinstance(value, int) else pa.string()
        table = table.add_column(place, name, pa.array([value] * len(table), kind))
    return table.replace_schema_metadata(None)
