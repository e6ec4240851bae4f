"""The columns of language's per-item scores. Imports no model.

Owns their names and meaning, and how the columns that every domain has (`study.store.items`) follow
from them; `study.language.scores.items` fills them.
"""

from __future__ import annotations

import math

import pyarrow as pa

_FLOATS = pa.list_(pa.float64())
_COUNTS = pa.list_(pa.int32())
SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("task", pa.string()),
        ("template", pa.string()),
        ("metric", pa.string()),
        ("index", pa.int32()),
        ("group", pa.int32()),
        ("twins", pa.bool_()),
        ("key", pa.string()),
        # one entry a choice; one for greedy and rolling
        ("log_likelihoods", _FLOATS),
        ("end_log_likelihoods", _FLOATS),
        ("null_log_likelihoods", _FLOATS),
        ("null_end_log_likelihoods", _FLOATS),
        ("tokens", _COUNTS),
        ("bytes", _COUNTS),
        ("gold", pa.int32()),
        ("prediction", pa.int32()),
        # credit in [0, 1] under the suite's end-of-sequence option and under the other one
        ("correct", pa.float64()),
        ("correct_other_end", pa.float64()),
        ("correct_without_context", pa.float64()),
        ("gold_nats_per_byte", pa.float64()),
        ("margin", pa.float64()),
        ("brier", pa.float64()),
        ("tie", pa.bool_()),
        ("valid", pa.bool_()),
        ("truncated", pa.int32()),
    ]
)
"""log_likelihoods are of the answers alone, in nats; the end of sequence stands apart.
null_log_likelihoods and null_end_log_likelihoods are those of the same answers after an empty
context, and correct_without_context is the credit for choosing by them. An item with a choice
that could not be scored is not valid: nothing wins it, its credit is 0 and what follows from its
scores is null. prediction is -1 where nothing wins alone. gold_nats_per_byte counts the end of
sequence if the suite scores it; margin (nats, gold over the best other choice) and brier do too.
truncated counts tokens that the context lost. A document with letters that have no token is not
valid, and gold_nats_per_byte is null where an answer has such letters: they have bytes and
hardly a price. Columns that a metric does not have are null."""


def of_items(table: pa.Table) -> pa.Table:
    """The columns of `study.store.items` and of `study.language.values.measures`: a template is a
    condition; `bits` and `size` (bytes) of a document are sums over its parts.

    Raises ValueError where the columns are another version's.
    """
    if table.schema.names != SCHEMA.names:
        raise ValueError(f"items with the columns {table.schema.names}; legal: {SCHEMA.names}")
    named = table.rename_columns(
        ["condition" if each == "template" else each for each in SCHEMA.names]
    )
    documents = [each == "rolling" for each in table["metric"].to_pylist()]
    nats = _sums(table["log_likelihoods"], of=documents)
    bits = [None if each is None else -each / math.log(2) for each in nats]
    return named.append_column("bits", pa.array(bits, pa.float64())).append_column(
        "size", pa.array(_sums(table["bytes"], of=documents), pa.float64())
    )


def _sums(lists: pa.ChunkedArray, *, of: list[bool]) -> list[float | None]:
    return [
        sum(values) if wanted else None
        for values, wanted in zip(lists.to_pylist(), of, strict=True)
    ]
