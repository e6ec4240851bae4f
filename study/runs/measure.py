"""What a score measures: which columns of its items, how they become one number, which is better.

Owns the values by which a domain says this of its scores. Panels, tables and verdicts know nothing
else of what was scored. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Better = Literal["higher", "lower"]


@runtime_checkable
class OfItems(Protocol):
    def __call__(self, columns: Mapping[str, Any]) -> float:
        """columns: (I,) or (I, D) arrays of one resample's items, by name."""
        ...


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of the items of one task, under one condition.

    name: as tables say it. columns: of the items table; NaN or null where an item has none.
    aggregation: `mean` of one column; `ratio` of the sums of two (word errors over words); `set`,
    what `of` makes of all items at once (a percentile, a Fréchet distance), where columns may be
    vectors.
    is_share: lies in [0, 1] and is printed in percent, with Wilson's interval; a task's chance is
    one of its values.
    blind: the column of the same answers chosen without the question. otherwise: the column under
    the scoring rule's other option, which is one of `option`, in words. All empty where a domain
    has none, and of `mean` alone.
    beside: names of further measures of the same items, shown beside this one.
    resampled: whether its error over items is that of resampled items. Where resampling biases a
    measure (distances between distributions), its error is the spread over seeds alone.
    title, note: of its own table in a report, where it is not a share. items: what an item is.
    """

    name: str
    columns: tuple[str, ...]
    better: Better
    aggregation: Literal["mean", "ratio", "set"] = "mean"
    of: OfItems | None = None
    is_share: bool = False
    blind: str = ""
    otherwise: str = ""
    option: str = ""
    beside: tuple[str, ...] = ()
    resampled: bool = True
    title: str = ""
    note: str = ""
    items: str = "items"

    def __post_init__(self) -> None:
        wanted = {"mean": 1, "ratio": 2}.get(self.aggregation, len(self.columns))
        if len(self.columns) != wanted or not self.columns:
            raise ValueError(
                f"measure {self.name!r}: {self.aggregation} of the columns {self.columns}; legal: "
                f"{wanted or 'at least one'}"
            )
        if (self.of is None) == (self.aggregation == "set"):
            raise ValueError(f"measure {self.name!r}: a function `of` belongs to `set`, and to it")
        if self.aggregation != "mean" and (self.blind or self.otherwise):
            raise ValueError(
                f"measure {self.name!r}: blind and otherwise are of `mean`, not {self.aggregation}"
            )

    @property
    def every_column(self) -> tuple[str, ...]:
        """Those that it reads of an items table."""
        more = (self.blind, self.otherwise)
        return (*self.columns, *(each for each in more if each))


@dataclass(frozen=True, kw_only=True)
class Derived:
    """A number made of a suite's scores, task by task: an index over tasks, a gap between two.

    of: (scores by task) -> its value, elementwise in arrays of any shape, so that resamples of the
    items follow. tasks: what it needs; a suite that lacks one of them has no such number.
    """

    name: str
    better: Better
    tasks: tuple[str, ...]
    of: Callable[[Mapping[str, Any]], Any]
    title: str = ""
    note: str = ""
