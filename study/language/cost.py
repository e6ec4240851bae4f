"""What a run costs, by formula: parameters, tokens seen, loss tokens, training FLOPs. No torch.

FLOPs are those of the matrix products, two per multiply-add: the projections, the gated MLP, the
output matrix at loss positions (nowhere else are logits computed), attention over the *full*
rectangle of queries and keys of a row, visible or not, which is what torch's attention computes
without tile skipping, a state-space mixer's chunks, a long convolution's transforms (which are no
matrix products on every device, but most of its work) and, once a step, its filters. Norms,
softmax, rotations, table look-ups, short filters, sums of decays, the loss and the optimiser are
left out. The backward pass is twice the forward pass; nothing is recomputed.
`torch.utils.flop_counter` counts the same but for transforms, which it does not know (tests).

A stage's numbers are its own: parents are not added. Rows are full: prompted rows, and span
corruption under document masking, hold at most what is said here.

`parameters` is the sum of a model's tensors by role and shape, which say what per-tensor state
costs without building it; `study.train.optimizers.role` gives the same roles to the built model's
tensors (tests compare both).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import assert_never

from study.costs.footprint import Role, Shape
from study.language.values.model import Model
from study.language.values.objective import (
    FullLM,
    Objective,
    PrefixLM,
    Prompted,
    SpanCorruption,
    row_length,
)
from study.language.values.stages import Adapt, Finetune, Pretrain, Stage, model_of
from study.nn.constants import (
    FILTER_FEATURES,
    GATED_TAPS,
    NUM_BUCKETS,
    NUM_LATER_BUCKETS,
    STATE_TAPS,
)
from study.nn.cost import (
    Reach,
    attention_parameters,
    filter_flops,
    mixer_flops,
    mixer_parameters,
)
from study.runs.domain import Cost
from study.runs.node import Run


def parameter_count(model: Model) -> int:
    """Trainable numbers, every tensor once; embeddings and position tables included."""
    embedding = model.vocab_size * model.d_model * (1 if model.tied else 2)
    layer = mixer_parameters(model, reach(model)) + _mlp(model) + 2 * model.d_model
    final_norm = model.d_model
    tables = _table_rows(model) * model.heads
    if model.architecture != "encoder_decoder":
        return embedding + model.layers * layer + final_norm + tables
    crossing = attention_parameters(model) + model.d_model
    reading = mixer_parameters(model, "full") + _mlp(model) + 2 * model.d_model
    return embedding + model.layers * (layer + reading + crossing) + 2 * final_norm + tables


def reach(model: Model) -> Reach:
    """What the decoder's rows can show; an encoder's is `full`."""
    return "prefix" if model.architecture == "prefix_decoder" else "causal"


def _mlp(model: Model) -> int:
    return 3 * model.d_model * model.d_ff // max(1, model.blocks)


def _table_rows(model: Model) -> int:
    """Rows of all position tables together (`study.nn.positions`)."""
    alone = model.architecture != "encoder_decoder"
    match model.positions:
        case "rope" | "none":
            return 0
        case "t5_bias":
            return NUM_BUCKETS + NUM_LATER_BUCKETS if alone else 2 * NUM_BUCKETS
        case "t5_bias_paper":
            return model.layers * NUM_BUCKETS if alone else 2 * NUM_BUCKETS
        case _:
            assert_never(model.positions)


@dataclass(frozen=True, kw_only=True)
class RowShape:
    """Positions that one laid-out row puts through the model.

    source: what an encoder reads; 0 in decoders. target: what the decoder reads. loss: where logits
    are computed (an expectation for prefix LM). count: laid-out rows per row of the batch.
    """

    source: int
    target: int
    loss: Fraction
    count: Fraction


def row_shape(model: Model, objective: Objective) -> RowShape:
    """How an objective's row lies in an architecture."""
    apart = model.architecture == "encoder_decoder"
    match objective:
        case FullLM():
            # an encoder with nothing to read is laid out as one pad position (`language.layout`)
            source, target = (1 if apart else 0), objective.length
            loss = Fraction(target)
        case PrefixLM() if apart:
            # Two chunks share a row pair, so that both sides are full (paper, appendix C).
            return RowShape(
                source=objective.length,
                target=objective.length,
                loss=Fraction(objective.length),
                count=Fraction(1, 2),
            )
        case PrefixLM():
            # The split is uniform over 1..L-1, so half of the tokens are targets on average.
            source, target = 0, objective.length
            loss = Fraction(objective.length, 2)
        case SpanCorruption():
            source, target = objective.input_length, objective.target_length
            loss = Fraction(target)
        case Prompted():
            source, target = objective.inputs, objective.targets
            loss = Fraction(target)
        case _:
            assert_never(objective)
    if not apart:
        source, target = 0, source + target
    return RowShape(source=source, target=target, loss=loss, count=Fraction(1))


def forward_flops(model: Model, shape: RowShape) -> Fraction:
    """FLOPs of one laid-out row's forward pass, without what all rows share."""
    source, target = shape.source, shape.target
    inner = model.heads * model.d_head
    layer = 2 * target * _mlp(model) + mixer_flops(model, target, reach(model))
    if model.architecture == "encoder_decoder":
        layer += 2 * source * _mlp(model) + mixer_flops(model, source, "full")
        # Query and output projections of the targets, key and value projections of the source.
        layer += (
            2 * (target + source) * attention_parameters(model) // 2 + 4 * target * source * inner
        )
    return model.layers * layer + 2 * shape.loss * model.d_model * model.vocab_size


def shared_flops(model: Model, shape: RowShape) -> int:
    """FLOPs of a forward pass that its rows share: a long convolution's filters."""
    layer = filter_flops(model, shape.target, reach(model))
    if model.architecture == "encoder_decoder":
        layer += filter_flops(model, shape.source, "full")
    return model.layers * layer


def tokens(run: Run) -> int:
    """Tokens seen in training, inputs and targets together; 0 for a run that trains nothing."""
    if not isinstance(run, Stage):
        return 0
    return run.training.steps * run.training.batch_size * row_length(run.objective)


def loss_tokens(run: Run) -> int | None:
    """Tokens with loss: exact for full LM and span corruption, the expectation for prefix LM.

    None where only the data knows: prompted finetuning, and span corruption of single documents.
    """
    if not isinstance(run, Stage):
        return 0
    if isinstance(run.objective, Prompted) or _corrupts_single_documents(run):
        return None
    shape = row_shape(model_of(run), run.objective)
    rows = run.training.steps * run.training.batch_size
    return int(rows * shape.count * shape.loss)


def _corrupts_single_documents(run: Stage) -> bool:
    match run:
        case Pretrain() | Adapt():
            masked = run.packing.document_masking
            return masked and isinstance(run.objective, SpanCorruption)
        case Finetune():
            return False
        case _:
            assert_never(run)


def flops(run: Run) -> int:
    """Training FLOPs of this stage, forward and backward; 0 for a run that trains nothing."""
    if not isinstance(run, Stage):
        return 0
    model = model_of(run)
    shape = row_shape(model, run.objective)
    rows = run.training.batch_size * shape.count
    step = rows * forward_flops(model, shape) + shared_flops(model, shape)
    return int(3 * run.training.steps * step)


def cost_of(run: Stage) -> Cost:
    """The numbers of one stage together."""
    return Cost(
        parameters=parameter_count(model_of(run)),
        tokens=tokens(run),
        loss_tokens=loss_tokens(run),
        flops=flops(run),
    )


def shapes(model: Model) -> tuple[Shape, ...]:
    """Every tensor of the model once."""
    return tuple(
        Shape(role=role, shape=shape, count=count) for role, shape, count in _tensors(model)
    )


Tensors = Iterator[tuple[Role, tuple[int, ...], int]]


def _tensors(model: Model) -> Tensors:
    width, layers = model.d_model, model.layers
    yield "embedding", (model.vocab_size, width), 1
    if not model.tied:
        yield "head", (model.vocab_size, width), 1
    yield from _layers(model, reach(model))
    yield "norm", (width,), 2 * layers + 1
    if model.architecture == "encoder_decoder":
        yield from _layers(model, "full")
        yield from _attention(model)
        yield "norm", (width,), 3 * layers + 1
    yield from _tables(model)


def _layers(model: Model, sees: Reach) -> Tensors:
    """Mixers and MLPs of one stack."""
    match model.mixer:
        case "attention":
            yield from _attention(model)
        case "monarch":
            yield from _long_convolution(model, sees)
        case "ssd":
            yield from _state_space(model)
        case _:
            assert_never(model.mixer)
    yield "matrix", _matrix(model.d_ff, model.d_model, model.blocks), 2 * model.layers
    yield "matrix", _matrix(model.d_model, model.d_ff, model.blocks), model.layers


def _matrix(outputs: int, inputs: int, blocks: int) -> tuple[int, ...]:
    return (blocks, outputs // blocks, inputs // blocks) if blocks else (outputs, inputs)


def _attention(model: Model) -> Tensors:
    inner = model.heads * model.d_head
    yield "matrix", (inner, model.d_model), 3 * model.layers
    yield "matrix", (model.d_model, inner), model.layers


def _long_convolution(model: Model, sees: Reach) -> Tensors:
    inner, layers, features = model.heads * model.d_head, model.layers, model.d_filter
    yield "matrix", _matrix(inner, model.d_model, model.blocks), 3 * layers
    yield "matrix", _matrix(model.d_model, inner, model.blocks), layers
    yield "norm", (3 * inner, GATED_TAPS), layers
    yield "norm", (inner,), layers
    filters = layers * (1 if sees == "causal" else 2)
    yield "positions", (features, FILTER_FEATURES), filters
    yield "positions", (features, features), 2 * filters
    yield "positions", (inner, features), filters
    yield "norm", (features,), 4 * filters
    if model.basis:
        yield "positions", (model.basis,) * 3, 4 * layers


def _state_space(model: Model) -> Tensors:
    inner, states = model.heads * model.d_head, model.heads * model.d_state
    yield "matrix", (inner, model.d_model), 2 * model.layers
    yield "matrix", (states, model.d_model), 2 * model.layers
    yield "matrix", (model.heads, model.d_model), model.layers
    yield "matrix", (model.d_model, inner), model.layers
    yield "norm", (inner + 2 * states, STATE_TAPS), model.layers
    yield "norm", (model.heads,), 3 * model.layers
    yield "norm", (inner,), model.layers


def _tables(model: Model) -> Tensors:
    alone = model.architecture != "encoder_decoder"
    match model.positions:
        case "rope" | "none":
            return
        case "t5_bias" if alone:
            yield "positions", (NUM_BUCKETS, model.heads), 1
            yield "positions", (NUM_LATER_BUCKETS, model.heads), 1
        case "t5_bias_paper" if alone:
            yield "positions", (NUM_BUCKETS, model.heads), model.layers
        case "t5_bias" | "t5_bias_paper":
            yield "positions", (NUM_BUCKETS, model.heads), 2
        case _:
            assert_never(model.positions)
