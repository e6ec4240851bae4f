"""Optimiser state as files that know nothing of how many ranks wrote them.

Owns both forms and their reading, into any engine on any number of ranks:

    optimizer.safetensors                     KEY/PARAMETER: whole tensors
    optimizer-00000-of-00002.safetensors ...  KEY/PARAMETER/OFFSET: part of the flattened tensor,
                                              from this offset on; step/PARAMETER: the count

Every offset is into the parameter, never into a buffer of some rank, so that two files are joined
and split by arithmetic alone. Nothing here is pickled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from study.train.checkpoint import read_tensors, write_tensors

WHOLE = "optimizer.safetensors"
COUNT = "step"
_SHARD = re.compile(r"optimizer-(\d{5})-of-(\d{5})\.safetensors\Z")


@dataclass(frozen=True, kw_only=True, eq=False)
class Fragment:
    """What one rank holds of one parameter's state: `count` numbers from `low` on in the flattened
    parameter, at `at` in this rank's flat buffer `flat`.
    """

    name: str
    low: int
    count: int
    flat: Tensor
    at: int


def write_shard(
    directory: Path,
    *,
    fragments: Iterable[Fragment],
    optimizer: torch.optim.Optimizer,
    shard: tuple[int, int],
) -> None:
    """This rank's part of the state. shard: (rank, world)."""
    found: dict[str, Tensor] = {}
    for one in fragments:
        for key, value in optimizer.state[one.flat].items():
            if value.ndim:
                part = value.narrow(0, one.at, one.count)
                # Cloned: safetensors refuses two views of one buffer.
                found[f"{key}/{one.name}/{one.low}"] = part.clone()
            elif one.low == 0:
                found[f"{key}/{one.name}"] = value.clone()
    file = directory / f"optimizer-{shard[0]:05d}-of-{shard[1]:05d}.safetensors"
    write_tensors(file, tensors=found)
    with open(file, "rb") as written:
        os.fsync(written.fileno())  # by who wrote it: rank 0 may be on another machine


@dataclass(kw_only=True, eq=False)
class _Part:
    file: Path
    key: str
    low: int
    count: int


@dataclass(kw_only=True, eq=False)
class Stored:
    """The state that a checkpoint holds, read by piece."""

    directory: Path
    _parts: dict[tuple[str, str], list[_Part]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for file in _files(self.directory):
            with _opened(file) as content:
                for entry in content.keys():  # noqa: SIM118  (not a dictionary)
                    key, _, rest = entry.partition("/")
                    name, _, low = rest.partition("/")
                    shape = content.get_slice(entry).get_shape()
                    count = 1
                    for size in shape:
                        count *= size
                    part = _Part(file=file, key=entry, low=int(low or 0), count=count)
                    self._parts.setdefault((key, name), []).append(part)
        for parts in self._parts.values():
            parts.sort(key=lambda part: part.low)

    @property
    def names(self) -> set[str]:
        return {name for _, name in self._parts}

    def keys(self, name: str) -> set[str]:
        return {key for key, owner in self._parts if owner == name}

    def part(self, key: str, name: str, *, low: int, count: int, of: int) -> Tensor:
        """`count` numbers from `low` on of a parameter's flattened state, which has `of` in all.
        Raises ValueError where the files hold something else.
        """
        parts = self._parts.get((key, name), [])
        end = 0
        for part in parts:
            if part.low != end:
                break
            end += part.count
        if not parts or end != of or parts[-1].low + parts[-1].count != of:
            held = ", ".join(f"{part.low} to {part.low + part.count}" for part in parts)
            raise ValueError(
                f"{self.directory} holds {held or 'nothing'} of {key!r} of {name!r}; needed: 0 to "
                f"{of}"
            )
        pieces = []
        for part in parts:
            first, last = max(low, part.low), min(low + count, part.low + part.count)
            if first < last:
                with _opened(part.file) as content:
                    whole = content.get_tensor(part.key).flatten()
                pieces.append(whole[first - part.low : last - part.low])
        return torch.cat(pieces)

    def whole(self, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
        """Everything, as `study.train.optimizers.Optimizer` takes it. shapes: of the parameters."""
        found: dict[str, Tensor] = {}
        for (key, name), parts in self._parts.items():
            if [part.key for part in parts] == [f"{key}/{name}"]:
                with _opened(parts[0].file) as content:
                    found[f"{key}/{name}"] = content.get_tensor(parts[0].key)
            elif name in shapes:
                size = shapes[name].numel()
                part = self.part(key, name, low=0, count=size, of=size)
                found[f"{key}/{name}"] = part.reshape(shapes[name])
            else:
                raise ValueError(f"optimiser state for parameters that the model lacks: {name!r}")
        return found


def load(
    stored: Stored,
    *,
    fragments: Iterable[Fragment],
    optimizer: torch.optim.Optimizer,
    shapes: dict[str, torch.Size],
) -> None:
    """Fill AdamW's flat buffers. Raises ValueError naming what is missing, unknown or misshaped.

    A parameter that never had a gradient has no state in a checkpoint of one process; in a flat
    buffer it has zeros.
    """
    unknown, missing = sorted(stored.names - {*shapes}), sorted({*shapes} - stored.names)
    if unknown:
        raise ValueError(f"optimiser state for parameters that the model lacks: {unknown[:5]}")
    if missing:
        raise ValueError(f"no optimiser state for parameter {missing[0]!r}")
    counts: dict[Tensor, tuple[float, str]] = {}
    for one in fragments:
        state = optimizer.state[one.flat]
        if not state:
            state |= {key: torch.zeros_like(one.flat) for key in ("exp_avg", "exp_avg_sq")}
            state[COUNT] = torch.zeros((), dtype=torch.float32, device=one.flat.device)
        keys = stored.keys(one.name)
        if keys == {"none"}:
            continue
        if keys != {*state}:
            raise ValueError(
                f"optimiser state of {one.name!r} is {sorted(keys)}; AdamW needs {sorted(state)}"
            )
        size = shapes[one.name].numel()
        for key in keys - {COUNT}:
            part = stored.part(key, one.name, low=one.low, count=one.count, of=size)
            state[key].narrow(0, one.at, one.count).copy_(part)
        count = float(stored.part(COUNT, one.name, low=0, count=1, of=1))
        before, neighbour = counts.setdefault(one.flat, (count, one.name))
        if before != count:
            raise ValueError(
                f"{neighbour!r} had {before:.0f} updates and {one.name!r} {count:.0f}, and a rank "
                "keeps one count for both; legal here: zero 0, or one process"
            )
        state[COUNT].fill_(count)


def _files(directory: Path) -> list[Path]:
    whole = directory / WHOLE
    if whole.exists():
        return [whole]
    shards = {
        int(found[1]): (int(found[2]), path)
        for path in directory.iterdir()
        if (found := _SHARD.match(path.name))
    }
    worlds = {world for world, _ in shards.values()}
    if len(worlds) != 1 or {*shards} != {*range(*worlds)}:
        held = ", ".join(path.name for _, path in shards.values()) or "none"
        raise ValueError(
            f"{directory} holds these parts of an optimiser state: {held}; legal: {WHOLE}, or all "
            "of optimizer-00000-of-N to the last"
        )
    return [shards[rank][1] for rank in sorted(shards)]


def _opened(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file: {error}") from error


def read_whole(directory: Path, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """A checkpoint's state as whole tensors, whoever wrote it."""
    whole = directory / WHOLE
    return read_tensors(whole) if whole.exists() else Stored(directory=directory).whole(shapes)
