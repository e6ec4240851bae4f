"""Parquet files as rows: every type that Arrow yields has a value, or says that it has none.

Owns the way from Arrow to Python. Arrow's own way ends a whole batch at one value that Python has
no form of, in a column that may not matter to anybody; here that value alone is `Foreign`, which is
no text to whoever does read the column.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.sources.typed_rows import Foreign, Row

# text that is no UTF-8, years that Python lacks, zones that this machine does not know
_NO_FORM = (ValueError, ArithmeticError, TypeError, LookupError, NotImplementedError)


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file, in order. Raises ValueError naming the place where it is malformed."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            refuse_twins(file.schema_arrow.names, path.name)
            for batch in file.iter_batches():
                yield from _rows(batch)
                number += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{path.name}: not readable as Parquet after row {number} ({error})"
        ) from error


def refuse_twins(names: list[str], file: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"{file}: a column is named twice: {', '.join(names)}")


def _rows(batch: Any) -> list[Row]:
    try:
        return batch.to_pylist()
    except _NO_FORM:
        columns = [[_value(item) for item in column] for column in batch.columns]
        return [
            dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)
        ]


def _value(scalar: Any) -> Any:
    """As `as_py`, but for what has no form."""
    import pyarrow

    try:
        return scalar.as_py()
    except _NO_FORM:
        kind = scalar.type
    if isinstance(scalar, pyarrow.ExtensionScalar | pyarrow.DictionaryScalar):
        return _value(scalar.value)
    if isinstance(scalar, pyarrow.StructScalar):
        fields = [(field.name, _value(scalar[place])) for place, field in enumerate(kind)]
        if len({name for name, _ in fields}) == len(fields):
            return dict(fields)
        return Foreign(kind=str(kind), form=repr(fields))
    if isinstance(scalar, pyarrow.MapScalar):
        return [(_value(pair[0]), _value(pair[1])) for pair in scalar.values]
    if isinstance(
        scalar, pyarrow.ListScalar | pyarrow.LargeListScalar | pyarrow.FixedSizeListScalar
    ):
        return [_value(item) for item in scalar.values]
    if hasattr(scalar, "as_buffer"):
        return Foreign(kind=str(kind), form=scalar.as_buffer().to_pybytes().hex())
    return Foreign(kind=str(kind), form=str(scalar.value))
