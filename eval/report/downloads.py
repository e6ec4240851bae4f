"""Every answer behind a report, to be downloaded from the page's folder: one Parquet a suite.

Owns which columns stand before those of `study.store.items`: what the answer is of. The rows are
the published ones, unchanged; those that the report refuses (stale, other questions) are not in it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from eval.evidence.panel import Panel, ScoredRun
from eval.report.figures.drawing import slug
from study.runs.run import run_id

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
        run_id(scored.run),
    )
    for place, (name, value) in enumerate(zip(NAMED, values, strict=True)):
        kind = pa.int64() if isinstance(value, int) else pa.string()
        table = table.add_column(place, name, pa.array([value] * len(table), kind))
    return table.replace_schema_metadata(None)
