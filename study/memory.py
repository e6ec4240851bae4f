"""What one rank needs to train a run: bytes by ZeRO stage, by formula. No torch.

Owns the forecast that `study plan --memory` prints. What is held for long (weights, gradients,
optimiser state) follows from `study.shapes`; activations are those that autograd saves, tensor by
tensor, on torch's fused attention or its kernels' (tests count them in the built model). A peak is
the largest of a step's moments, so it is less than the sum of its parts:

    logits    the last micro-batch's forward pass has ended and the loss's gradient is there
    layer     the last layer's backward pass begins
    gradients the backward pass has ended: activations are gone, gradients are whole
    update    the optimiser moves the weights

Left out: the process itself, its libraries, an accelerator's context (0.3 to 0.6 GB of CUDA), the
batch's integers, fragmentation of the allocator, and evaluation, which needs less than a step.

Numbers in comments: n positions of a micro-batch, M model width, I = heads * d_head, F = d_ff.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Literal, assert_never

from study import cost
from study.run import Adafactor, AdamW, Finetune, Model, Muon, Trained, Training, model_of
from study.shapes import Role, Shape, shapes

Zero = Literal[0, 1, 2, 3]
Device = Literal["cpu", "cuda"]
Moment = Literal["logits", "layer", "gradients", "update"]

WIDE = 4
"""Bytes of a float32."""
BUCKET = 500_000_000
"""Numbers that DeepSpeed reduces at once (its own default)."""
LIVE = 1_000_000_000
"""Numbers of weights that ZeRO 3 keeps gathered at most (its own default)."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Bytes of one rank. parameters, gradients, optimizer: as sharded between passes.

    activations: saved by the forward pass of one micro-batch. logits: at loss positions, with what
    the loss makes of them. buffers: whatever else the moment of the peak needs. total: the peak.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    buffers: int
    moment: Moment
    total: int


def forecast(
    run: Trained,
    *,
    zero: Zero | None,
    ranks: int,
    micro_batch: int | None,
    activation_checkpointing: Literal["off", "on"],
    device: Device = "cuda",
) -> Forecast:
    """Bytes of the fullest rank in a step of `run`.

    zero: None is plain torch in one process. micro_batch: rows of one pass on one rank; None takes
    the rank's share of the batch at once. Raises ValueError for mixers whose activations are not
    known, and for a division of the batch that leaves a rank without rows.
    """
    model, training = model_of(run), run.training
    if zero is None and ranks != 1:
        raise ValueError(f"{ranks} ranks without ZeRO; legal: 1, or zero of 0 to 3")
    share = ceil(training.batch_size / ranks)
    if ranks > training.batch_size:
        raise ValueError(f"{ranks} ranks for {training.batch_size} rows; legal: at most as many")
    rows = min(share, micro_batch or share)
    shards = ranks if zero else 1
    tensors = shapes(model)
    numbers = sum(each.numel for each in tensors)
    held = _Held(
        parameters=WIDE * numbers // (shards if zero == 3 else 1),
        gradients=WIDE * numbers // (shards if zero in (2, 3) else 1),
        # From ZeRO 1 on each rank holds its part of the weights once more, as the flat master copy.
        optimizer=(_state(tensors, training) + (WIDE * numbers if zero else 0)) // shards,
        accumulates=share > rows,
    )
    pass_ = _passed(
        run, rows=rows, activation_checkpointing=activation_checkpointing, device=device
    )
    return _peak(held, pass_, tensors=tensors, run=run, zero=zero, shards=shards)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """accumulates: gradients of an earlier micro-batch are there in the forward pass."""

    parameters: int
    gradients: int
    optimizer: int
    accumulates: bool


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """saved: activations. working: what the backward pass of one layer needs beside them.

    logits: their peak. casts: 16-bit copies of the weights, kept by autocast.
    """

    saved: int
    working: int
    logits: int
    casts: int


def _state(tensors: tuple[Shape, ...], training: Training) -> int:
    """Bytes of the optimiser's state: two moments a number (AdamW), the sums over rows and over
    columns of a matrix and all squares of a vector (Adafactor), one momentum a number of a hidden
    matrix and AdamW for the rest (Muon).
    """
    recipe = training.optimizer
    match recipe:
        case AdamW():
            return sum(2 * WIDE * each.numel for each in tensors)
        case Adafactor():
            return sum(WIDE * each.count * _factored(each.shape) for each in tensors)
        case Muon():
            return sum((1 if each.role == "matrix" else 2) * WIDE * each.numel for each in tensors)
        case _:
            assert_never(recipe)


def _factored(shape: tuple[int, ...]) -> int:
    if len(shape) < 2:
        return prod(shape)
    rows, columns = shape[-2:]
    return prod(shape[:-2]) * (rows + columns)


def _update(tensors: tuple[Shape, ...], training: Training) -> int:
    """Bytes that the update itself needs.

    torch's Adafactor writes out the updates of all matrices of a group at once (`foreach`), and its
    groups are what decays and what does not. Muon takes one matrix at a time: its interpolated
    gradient in float32, two 16-bit copies and two small products. Fused AdamW needs nothing.
    """
    match training.optimizer:
        case Adafactor():
            decayed: tuple[Role, ...] = ("matrix", "head")
            groups = [0, 0]
            for each in tensors:
                if len(each.shape) > 1:
                    groups[each.role in decayed] += WIDE * each.numel
            return max(groups)
        case Muon():
            matrices = (each.shape for each in tensors if each.role == "matrix")
            return max(
                8 * rows * columns + 6 * min(rows, columns) ** 2 for rows, columns in matrices
            )
        case _:
            return 0


def _passed(
    run: Trained,
    *,
    rows: int,
    activation_checkpointing: Literal["off", "on"],
    device: Device,
) -> _Pass:
    """Bytes of one micro-batch's pass.

    Per position a norm saves its input, the normed input and its output (3 M); attention saves
    queries, keys, values and outputs (4 I); the gated MLP saves both products, the gelu and what
    goes into the last one (4 F). Under autocast what enters a product is 16 bits wide, once for
    each product that reads it, and the norms' own tensors stay float32. A relative bias writes the
    softmax out, in float32 and as it enters the product with the values: heads x queries x keys a
    row. Dropout saves its masks (a byte on a GPU, a number of the tensor's own width on a CPU).
    Intervals that are neither causal nor full are a mask a layer in torch's attention on a CPU.

    With checkpointing a layer keeps its input alone, and one layer at a time is computed again.
    """
    model, training = model_of(run), run.training
    if model.mixer != "attention":
        raise ValueError(
            f"what the mixer {model.mixer!r} saves for its backward pass is not known; legal: "
            "attention"
        )
    autocast = training.precision == "bfloat16_autocast"
    narrow = 2 if autocast else WIDE
    shape = cost.row_shape(model, run.objective)
    laid = rows * shape.count
    base = _Side(
        model=model,
        narrow=narrow,
        device=device,
        dropout=training.dropout > 0.0,
        masked=device == "cpu" and _masked(run),
        queries=shape.target,
        source=shape.source,
    )
    stacks = [base]
    if model.architecture == "encoder_decoder":
        stacks.append(replace(base, queries=shape.source, source=0))
    # What the encoder says is read by every cross-attention; under autocast each has its own copy.
    saved = WIDE * model.d_model * shape.source if narrow == WIDE else 0
    working = 0
    for stack in stacks:
        layer = stack.layer()
        if activation_checkpointing == "on":
            saved += model.layers * (WIDE * stack.queries * model.d_model + stack.memory())
            working = max(working, stack.working() + layer)
        else:
            saved += model.layers * layer
            working = max(working, stack.working())
        saved += stack.ends()
    places = laid * shape.loss
    numbers = places * model.vocab_size
    # The head reads the scaled states at loss positions; the loss keeps float32 logits and makes a
    # gradient of their size (a 16-bit copy of which goes back under autocast).
    saved_at_head = places * model.d_model * (WIDE + (2 if autocast else 0))
    casts = 2 * sum(each.numel for each in shapes(model) if each.role in ("matrix", "head"))
    if model.tied:
        casts += 2 * model.vocab_size * model.d_model
    return _Pass(
        saved=int(laid * saved + saved_at_head),
        working=int(laid * working),
        logits=int(numbers * (2 * WIDE + (2 if autocast else 0))),
        casts=casts if autocast else 0,
    )


def _masked(run: Trained) -> bool:
    """Whether a self-attention's intervals are neither causal nor full, as a rule."""
    if model_of(run).architecture == "prefix_decoder" or isinstance(run, Finetune):
        return True
    return run.packing.document_masking


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One stack of layers over one row. source: positions that cross-attention reads, or 0.

    narrow: bytes of a number that enters or leaves a product. masked: attention keeps a mask.
    """

    model: Model
    narrow: int
    device: Device
    dropout: bool
    masked: bool
    queries: int
    source: int

    @property
    def _inner(self) -> int:
        return self.model.heads * self.model.d_head

    @property
    def _crosses(self) -> bool:
        return self.model.architecture == "encoder_decoder" and self.source > 0

    @property
    def _biased(self) -> bool:
        return self.model.positions in ("t5_bias", "t5_bias_paper")

    def _norm(self, readers: int) -> int:
        """Bytes a position: input, normed input and scale in float32, and the output: shared by its
        readers, or cast once for each.
        """
        output = WIDE if self.narrow == WIDE else readers * self.narrow
        return self.model.d_model * (2 * WIDE + output) + WIDE

    def layer(self) -> int:
        model, sums = self.model, WIDE * self.model.heads
        scores = 0
        if self._biased:
            sums = 0
            scores = model.heads * self.queries * (WIDE + (2 if self.narrow < WIDE else 0))
        elif self.masked:
            scores = self.narrow * self.queries
        position = self._norm(3) + self._norm(2) + self.narrow * (4 * self._inner + 4 * model.d_ff)
        total = self.queries * (position + scores + sums + self._masks())
        if self._crosses:
            read = self._norm(1) + self.narrow * 2 * self._inner + WIDE * model.heads
            total += self.queries * read + self.memory()
        return total

    def memory(self) -> int:
        """A layer's keys and values of the source, which are there before the decoder begins; under
        autocast each has a copy of the encoder's states.
        """
        copies = 2 * self.model.d_model if self.narrow < WIDE else 0
        return self.source * self.narrow * (2 * self._inner + copies) if self._crosses else 0

    def _masks(self) -> int:
        """Of dropout, a position: after the mixer, inside and after the MLP, and after
        cross-attention.
        """
        width = 1 if self.device == "cuda" else self.narrow
        residual = 3 if self._crosses else 2
        return width * (residual * self.model.d_model + self.model.d_ff) if self.dropout else 0

    def ends(self) -> int:
        """The final norm's tensors, the masks on both ends of the stack, and rope's angles."""
        mask = (1 if self.device == "cuda" else WIDE) if self.dropout else 0
        angles = 2 * WIDE * self.model.d_head if self.model.positions == "rope" else 0
        return self.queries * (self.model.d_model * (2 * WIDE + 2 * mask) + angles)

    def working(self) -> int:
        """The gradients of one layer's widest part: three of the MLP's width, or of the scores."""
        scores = 3 * WIDE * self.model.heads * self.queries * self.queries if self._biased else 0
        return max(3 * self.narrow * self.queries * self.model.d_ff, scores)


def _peak(
    held: _Held,
    pass_: _Pass,
    *,
    tensors: tuple[Shape, ...],
    run: Trained,
    zero: Zero | None,
    shards: int,
) -> Forecast:
    """The largest moment. A tied embedding's gradients arrive from the head, at once, and from the
    look-up, at the end, and are added out of place: three of its size are there (measured).
    """
    model, training = model_of(run), run.training
    numbers = sum(each.numel for each in tensors)
    embedding = WIDE * model.vocab_size * model.d_model
    copies = embedding * ((2 if model.tied else 0) + (1 if held.accumulates else 0))
    flat = bucket = 0
    match zero:
        case None:
            pass
        case 0 | 1 | 2:
            bucket = WIDE * min(BUCKET, numbers)
            flat = WIDE * numbers // shards if zero else 0
        case 3:
            bucket = WIDE * min(BUCKET, numbers) + WIDE * min(LIVE, numbers)
            flat = WIDE * numbers // shards
    before = held.gradients if held.accumulates or zero == 3 else 0
    moments: dict[Moment, tuple[int, int]] = {
        # (bytes beside weights and state, those of them that are buffers)
        "logits": (
            before + pass_.saved + pass_.logits + pass_.casts + embedding,
            pass_.casts + embedding,
        ),
        "layer": (
            before + pass_.saved + pass_.working + pass_.casts + embedding,
            pass_.casts + embedding + pass_.working,
        ),
        "gradients": (
            held.gradients + copies + bucket,
            copies + bucket,
        ),
        "update": (held.gradients + flat + _update(tensors, training), flat),
    }
    moment = max(moments, key=lambda name: moments[name][0])
    return Forecast(
        parameters=held.parameters,
        gradients=held.gradients,
        optimizer=held.optimizer,
        activations=pass_.saved,
        logits=pass_.logits,
        buffers=moments[moment][1],
        moment=moment,
        total=held.parameters + held.optimizer + moments[moment][0],
    )
