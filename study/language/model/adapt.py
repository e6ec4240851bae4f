"""One architecture's weights as the start of another's, with every tensor accounted for.

Owns the correspondence between the architectures' tensors. Causal and prefix decoders are the same
tensors, so between them nothing happens. Out of an encoder-decoder comes its decoder, without
cross-attention. Into an encoder-decoder, a decoder gives both stacks, and cross-attention is fresh.
A long convolution's filter for later keys is fresh where the source never saw any, and dropped
where the target never does.

Position tables are converted by distance, since the schemes cut distances into buckets differently:

| scheme          | decoder -> encoder's table               | decoder <-> decoder of a pair     |
|-----------------|------------------------------------------|-----------------------------------|
| `t5_bias`       | keys before: mean of the decoder's table | the causal table is the same one; |
|                 | over a bucket's distances; later keys:   | the half-table for later keys is  |
|                 | the half-table, which has T5's buckets   | zero on the way back              |
| `t5_bias_paper` | the same of the layers' mean table;      | one table a layer <-> one a stack |
|                 | later keys: bucket 0, as they had it     | (the mean, or repeated)           |

Reading and writing files is the caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from study.language.model.build import empty
from study.language.values.model import Model
from study.nn.initial_values import initial_values, seeded
from study.nn.positions import (
    MAX_DISTANCE,
    NUM_BUCKETS,
    NUM_LATER_BUCKETS,
    bidirectional_buckets,
    causal_buckets,
)

Action = Literal["copied", "initialised", "dropped", "converted"]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What became of one tensor. name: the target's, or for `dropped` the source's."""

    name: str
    action: Action
    shape: tuple[int, ...]
    note: str


def adapt(
    state: dict[str, Tensor], *, source: Model, target: Model, seed: int
) -> tuple[dict[str, Tensor], list[Account]]:
    """The target's state from the source's, and what became of every tensor of both.

    seed: of the tensors that are fresh. Raises ValueError on a missing, surplus or misshapen
    tensor, and on models that differ in more than their architecture.
    """
    for each in fields(Model):
        if each.name == "architecture":
            continue
        before, after = getattr(source, each.name), getattr(target, each.name)
        if before != after:
            raise ValueError(f"adapting {each.name} {before!r} to {after!r}; legal: {before!r}")
    _check_state(state, source)
    adapted: dict[str, Tensor] = {}
    accounts: list[Account] = []
    used: set[str] = set()
    for name, shape in _shapes(target).items():
        values, account, sources = _derive(name, shape, state=state, target=target, seed=seed)
        if values.shape != shape:
            raise ValueError(f"{name} would be {tuple(values.shape)}; legal: {tuple(shape)}")
        if used.intersection(sources) and values is state.get(sources[0]):
            values = values.clone()  # two tensors of the target must not share memory
        adapted[name] = values
        accounts.append(account)
        used.update(sources)
    for name, values in state.items():
        if name in used:
            continue
        if not _may_be_dropped(name, target):
            raise ValueError(
                f"{name} of the source has no place in the target and no rule drops it"
            )
        accounts.append(
            Account(name=name, action="dropped", shape=tuple(values.shape), note=_drop_note(name))
        )
    return adapted, accounts


def _shapes(model: Model) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in empty(model, dropout=0.0).state_dict().items()}


def _check_state(state: dict[str, Tensor], source: Model) -> None:
    shapes = _shapes(source)
    for name, values in state.items():
        if name not in shapes:
            raise ValueError(f"{name} is no tensor of a {source.architecture} ({source.positions})")
        if values.shape != shapes[name]:
            raise ValueError(
                f"{name} is {tuple(values.shape)}; legal for this model: {tuple(shapes[name])}"
            )
    missing = sorted(shapes.keys() - state.keys())
    if missing:
        raise ValueError(f"the source's state lacks {', '.join(missing)}")


def _derive(
    name: str, shape: torch.Size, *, state: dict[str, Tensor], target: Model, seed: int
) -> tuple[Tensor, Account, tuple[str, ...]]:
    """(values, account, tensors of the source that went in) of one tensor of the target."""

    def account(action: Action, note: str) -> Account:
        return Account(name=name, action=action, shape=tuple(shape), note=note)

    def fresh(note: str) -> tuple[Tensor, Account, tuple[str, ...]]:
        values = initial_values(name, shape, target, seeded(name, seed))
        return values, account("initialised", note), ()

    if name in state:
        return state[name], account("copied", ""), (name,)
    if name.endswith("positions.table"):
        values, note, sources = _converted_table(name, state, layers=target.layers)
        return values, account("converted", note), sources
    if name.endswith("positions.later"):
        return fresh("zero: an encoder-decoder's decoder has no later keys")
    if ".cross." in name or ".cross_norm." in name:
        return fresh("cross-attention is new")
    if name.startswith("encoder."):
        origin = "decoder." + name.removeprefix("encoder.")
        if origin in state:
            return state[origin], account("copied", f"from {origin}"), (origin,)
    if ".before." in name:
        return fresh("the filter for later keys is new: a prefix's function changes")
    raise ValueError(f"{name} of the target has no counterpart in the source")


def _converted_table(
    name: str, state: dict[str, Tensor], *, layers: int
) -> tuple[Tensor, str, tuple[str, ...]]:
    """A position table that the source has in another form."""
    shared = "decoder.positions.table"
    own = tuple(f"decoder.layers.{index}.positions.table" for index in range(layers))
    if name in own:
        return state[shared].clone(), f"from {shared}, which its layers shared", (shared,)
    if shared in state:
        causal, sources, origin = state[shared], (shared,), shared
    else:
        causal = torch.stack([state[each] for each in own]).mean(0)
        sources, origin = own, f"the mean of {layers} layers' tables"
    if name == shared:
        return causal, origin, sources
    later = "decoder.positions.later"
    if later in state:
        values = bidirectional_from_causal(causal, later=state[later])
        return values, f"by distance from {origin} and {later}", (*sources, later)
    values = bidirectional_from_causal(causal, later=causal[:1].expand(NUM_LATER_BUCKETS, -1))
    return values, f"by distance from {origin}; later keys from bucket 0", sources


def bidirectional_from_causal(causal: Tensor, *, later: Tensor) -> Tensor:
    """An encoder's table out of a decoder's: distance for distance where buckets agree, else the
    mean over the distances (below MAX_DISTANCE) that share a bucket.
    """
    distance = torch.arange(0, -MAX_DISTANCE, -1)
    buckets = bidirectional_buckets(distance)
    before = torch.zeros(NUM_BUCKETS - NUM_LATER_BUCKETS, causal.shape[1], dtype=causal.dtype)
    before = before.index_add(0, buckets, causal.cpu()[causal_buckets(distance)])
    counts = torch.bincount(buckets, minlength=len(before))[:, None]
    return torch.cat((before / counts, later.cpu())).to(causal.device)


def _may_be_dropped(name: str, target: Model) -> bool:
    """Whether only an encoder-decoder, or only a stack that shows later keys, has this tensor."""
    if target.architecture == "encoder_decoder":
        return False
    pairs = name.startswith("encoder.") or ".cross." in name or ".cross_norm." in name
    return pairs or (".before." in name and target.architecture == "causal_decoder")


def _drop_note(name: str) -> str:
    if name.startswith("encoder."):
        return "the encoder"
    return "the filter for later keys" if ".before." in name else "cross-attention"


def table(accounts: Sequence[Account]) -> str:
    """The account as plain text: a line a tensor, then the totals by action."""
    rows = [
        (each.action, each.name, "x".join(map(str, each.shape)), each.note) for each in accounts
    ]
    header = ("action", "tensor", "shape", "note")
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in [header, *rows]
    ]
    tensors = Counter(each.action for each in accounts)
    numbers: Counter[str] = Counter()
    for each in accounts:
        numbers[each.action] += torch.Size(each.shape).numel()
    totals = [f"{a}: {tensors[a]} tensors, {numbers[a]:,} numbers" for a in sorted(tensors)]
    return "\n".join([*(line.rstrip() for line in lines), *totals])
