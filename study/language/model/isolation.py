"""The self-test of every job on its own model before it trains: nobody sees what they must not.

Owns a fixed packed probe, what may and what must depend on each of its tokens, and the comparison.
The rules are stated here from the objective's meaning (inputs, targets, documents), not read off
the visibility that the model is given: so a wrong visibility, a wrong shift and a wrong kernel are
all caught.

Protected logits must be equal bit by bit: a mixer that sums visible terms only adds exact zeros for
the rest. A mixer that transforms a document as a whole cannot, and declares a bound instead: inside
the changed token's own document, protected logits may move by `rounding` (an attribute of the
mixer's class) times eps times the largest logit, or change of one. eps is that of the transform, so
float32's at least. Under autocast a few units in the last place of its dtype come on top, which is
no sharp test, so such a model is tested without autocast as well. Other documents and padding stay
equal bit by bit with every mixer. The reverse holds too: a token that must be seen has to change
something, by more than rounding could.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from study.language.layout import PAD, Batch, Row, Segment, layout
from study.language.values.model import Architecture

# (inputs, targets) of the documents in each row. Packed: the first row crosses the usual tile
# borders 64 and 128, and its document without inputs is a full-LM one; the second row is mostly
# padding. Plain: one document a row and no padding, for which kernels take their unmasked routes.
Sizes = tuple[tuple[tuple[int, int], ...], ...]
PACKED: Sizes = (((70, 20), (0, 12), (9, 30)), ((3, 5),))
PLAIN: Sizes = (((24, 16),), ((24, 16),))
PADDING = 19
LAST_PLACES = 64
"""Where a value rounded to 16 bits may end up when what it comes from moves by rounding: 6 measured
through 24 new layers on a CPU, whose transforms are float32; a GPU's are TF32 then.
"""


@runtime_checkable
class Scorable(Protocol):
    """What the test needs of a model."""

    def hidden(self, batch: Batch) -> Float[Tensor, "B T d"]: ...

    def logits(self, hidden: Float[Tensor, "*B d"]) -> Float[Tensor, "*B V"]: ...


class IsolationError(Exception):
    """A model reads what it must not, or does not read what it must. The message names it."""


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """What was checked: tokens perturbed, and logit rows found unchanged where they had to be."""

    perturbations: int
    protected: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Probe:
    """One perturbation.

    name: what was changed. protected: positions whose logits must stay. seen: positions of which at
    least one must change (in trained weights attention may pass over some); None where none has to.
    own: the changed token's document, within which rounding may pass.
    """

    name: str
    batch: Batch
    protected: Bool[Tensor, "B T"]
    seen: Bool[Tensor, "B T"] | None
    own: Bool[Tensor, "B T"]


def check_isolation(
    model: nn.Module,
    *,
    architecture: Architecture,
    vocab_size: int,
    precision: Literal["float32", "bfloat16_autocast"],
) -> Isolation:
    """Raise IsolationError unless the model keeps future, other documents and padding apart.

    Runs in eval mode and in the run's precision; modes of all modules and the random state are as
    before afterwards. precision: as in `study.runs.training.Training`.
    """
    if vocab_size < 4:
        raise ValueError(f"vocab_size is {vocab_size}; legal: at least 4, to have tokens to swap")
    perturbations = protected = 0
    rounding = max(getattr(module, "rounding", 0.0) for module in model.modules())
    with _untouched(model) as device:
        tried = {"float32", precision} if rounding else {precision}
        for each, (sizes, padding) in product(sorted(tried), ((PACKED, PADDING), (PLAIN, 0))):
            rows = _rows(sizes, vocab_size)
            form = _Layout(architecture=architecture, vocab_size=vocab_size, padding=padding)
            base = form.layout_of(rows)
            before = _logits(model, base, precision=each, device=device)
            if not bool(torch.isfinite(before[base.segments > 0]).all()):
                raise IsolationError("the model's logits are not finite on the isolation probe")
            for probe in _probes(rows, base, form=form):
                after = _logits(model, probe.batch, precision=each, device=device)
                _compare(probe, base, _change(before, after, rounding=rounding))
                perturbations += 1
                protected += int(probe.protected.sum())
    return Isolation(perturbations=perturbations, protected=protected)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Change:
    """What one perturbation did.

    differ: positions whose logits are not the same bits. beyond: those that differ by more than the
    transform's rounding. far: by more than that and the logits' own rounding.
    """

    differ: Bool[Tensor, "B T"]
    beyond: Bool[Tensor, "B T"]
    far: Bool[Tensor, "B T"]


def _change(
    before: Float[Tensor, "B T V"], after: Float[Tensor, "B T V"], *, rounding: float
) -> _Change:
    differ = (after != before).any(dim=-1)
    if rounding == 0.0:
        return _Change(differ=differ, beyond=differ, far=differ)
    size = (after.double() - before.double()).abs().amax(-1)
    wide = torch.promote_types(before.dtype, torch.float32)
    scale = torch.maximum(size.max(), before.abs().max())  # a small change rounds all anew
    bound = rounding * torch.finfo(wide).eps * scale
    last_places = LAST_PLACES * torch.finfo(before.dtype).eps * scale
    # Negated comparisons, so that what is not a number counts as a change.
    return _Change(
        differ=differ,
        beyond=differ & ~(size <= bound),
        far=differ & ~(size <= bound + last_places),
    )


def _compare(probe: _Probe, base: Batch, change: _Change) -> None:
    leaks = probe.protected & torch.where(probe.own, change.far, change.differ)
    if bool(leaks.any()):
        row, position = (int(index) for index in leaks.nonzero()[0])
        raise IsolationError(
            f"leak: {probe.name} changed the logits of {int(leaks.sum())} protected positions, the "
            f"first at row {row}, position {position} (position "
            f"{int(base.positions[row, position])} of document {int(base.segments[row, position])})"
        )
    if probe.seen is not None and not bool((change.beyond & probe.seen).any()):
        raise IsolationError(
            f"{probe.name} changed none of the {int(probe.seen.sum())} positions that must see it"
        )


def _probes(rows: list[Row], base: Batch, *, form: _Layout) -> Iterator[_Probe]:
    content = base.segments > 0
    for row, documents in enumerate(rows):
        for number, document in enumerate(documents):
            own = torch.zeros_like(content)
            own[row] = base.segments[row] == number + 1
            where = f"of document {number + 1} in row {row}"
            prefix = 0 if form.architecture == "encoder_decoder" else len(document.inputs)
            for place in _places(len(document.targets) - 1):
                # Position prefix + place emits this target; the next position is the first to read
                # it. The last target is read by nobody, and so is left out.
                later = own & (base.positions > prefix + place)
                yield _Probe(
                    name=f"changing target {place} {where}",
                    batch=form.with_token_changed(rows, (row, number, "targets", place)),
                    protected=content & ~later,
                    seen=later,
                    own=own,
                )
            for place in _places(len(document.inputs)):
                match form.architecture:
                    case "causal_decoder":
                        may = must = own & (base.positions > place)
                    case "prefix_decoder":
                        # What a causal decoder could not: positions up to the one that reads it.
                        may, must = own, own & (base.positions <= place)
                    case "encoder_decoder":
                        may = must = own
                yield _Probe(
                    name=f"changing input {place} {where}",
                    batch=form.with_token_changed(rows, (row, number, "inputs", place)),
                    protected=content & ~may,
                    seen=must,
                    own=own,
                )
    # Padding has no place in the rows, so it is changed in the batch.
    if not bool(content.all()):
        yield _Probe(
            name="changing the padding of the decoder",
            batch=replace(base, tokens=torch.where(content, base.tokens, form.vocab_size - 1)),
            protected=content,
            seen=None,
            own=torch.zeros_like(content),
        )
    if (source := base.source) is not None and not bool((source.segments > 0).all()):
        tokens = torch.where(source.segments > 0, source.tokens, form.vocab_size - 1)
        yield _Probe(
            name="changing the padding of the source",
            batch=replace(base, source=replace(source, tokens=tokens)),
            protected=content,
            seen=None,
            own=torch.zeros_like(content),
        )


def _places(length: int) -> list[int]:
    """First, middle and last of `length` places."""
    return sorted({0, length // 2, length - 1}) if length > 0 else []


def _rows(sizes: Sizes, vocab_size: int) -> list[Row]:
    rng = np.random.default_rng(0)

    def draw(length: int) -> np.ndarray:
        return rng.integers(PAD + 1, vocab_size, length, dtype=np.int32)

    return [
        tuple(Segment(inputs=draw(inputs), targets=draw(targets)) for inputs, targets in documents)
        for documents in sizes
    ]


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How the probe's rows are laid out."""

    architecture: Architecture
    vocab_size: int
    padding: int

    def layout_of(self, rows: list[Row]) -> Batch:
        inputs = [sum(len(one.inputs) for one in row) for row in rows]
        targets = [sum(len(one.targets) for one in row) for row in rows]
        if self.architecture == "encoder_decoder":
            return layout(
                rows,
                architecture=self.architecture,
                length=max(targets) + self.padding,
                source_length=max(inputs) + self.padding,
            )
        longest = max(a + b for a, b in zip(inputs, targets, strict=True))
        return layout(rows, architecture=self.architecture, length=longest + self.padding)

    def with_token_changed(
        self, rows: list[Row], token: tuple[int, int, Literal["inputs", "targets"], int]
    ) -> Batch:
        """The rows with one token, (row, document, half, place), replaced by another."""
        row, number, half, place = token
        documents = list(rows[row])
        tokens = getattr(documents[number], half).copy()
        tokens[place] = tokens[place] + 1 if tokens[place] + 1 < self.vocab_size else PAD + 1
        documents[number] = replace(documents[number], **{half: tokens})
        return self.layout_of([*rows[:row], tuple(documents), *rows[row + 1 :]])


def _logits(
    model: Scorable | nn.Module, batch: Batch, *, precision: str, device: torch.device
) -> Float[Tensor, "B T V"]:
    with torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16_autocast"
    ):
        found = model.logits(model.hidden(batch.to(device)))  # type: ignore[operator]
        return found.detach().cpu()


@contextmanager
def _untouched(model: nn.Module) -> Iterator[torch.device]:
    """Eval mode, with gradients to come: some mixers compute their values otherwise before a
    backward pass, and it is training that is tested. Every module's own mode and the random state
    come back.
    """
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    try:
        model.eval()
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            yield device
    finally:
        for module, mode in modes.items():
            module.training = mode
