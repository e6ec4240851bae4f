"""What the pass of one micro-batch needs: activations, logits, 16-bit copies. No torch.

Owns the list of what autograd saves, on torch's fused attention or its kernels' (tests count it in
the built model). What is no hundredth of a layer is left out: a softmax's sums, a norm's scale,
rope's angles. When in a step it is there is `study.costs.memory`'s.
"""

from __future__ import annotations

from typing import Literal

from study.costs.footprint import WIDE, Device, Footprint
from study.language.cost import row_shape, shapes
from study.language.values.stages import Finetune, Stage, model_of
from study.nn.cost import rows_of_block


def footprint(
    run: Stage,
    *,
    rows: int,
    activation_checkpointing: Literal["off", "on"],
    device: Device,
) -> Footprint:
    """The model's tensors, and the bytes of one micro-batch's pass.

    With checkpointing a layer keeps its input and what it reads of an encoder, and one layer at a
    time is computed again. Raises ValueError for mixers other than attention.
    """
    model, training = model_of(run), run.training
    if model.mixer != "attention":
        raise ValueError(
            f"what the mixer {model.mixer!r} saves for its backward pass is not known; legal: "
            "attention"
        )
    autocast = training.precision == "bfloat16_autocast"
    narrow = 2 if autocast else WIDE  # bytes of a number that enters or leaves a product
    shape = row_shape(model, run.objective)
    laid = rows * shape.count
    width, inner = model.d_model, model.heads * model.d_head
    # What the encoder says is read by every cross-attention; under autocast each has its own copy.
    saved, working = 0 if autocast else WIDE * width * shape.source, 0
    stacks = [(shape.target, shape.source)] + ([(shape.source, 0)] if shape.source else [])
    for queries, keys in stacks:
        # Keys and values of the encoder are there before the decoder begins.
        read = keys * narrow * (2 * inner + (2 * width if autocast else 0))
        layer = queries * _position(run, queries, crosses=keys > 0, device=device) + read
        # The gradients of a layer's widest part: three of the MLP's width, or of the scores.
        scores = 3 * WIDE * model.heads * queries * queries if _biased(run) else 0
        widest = max(3 * narrow * queries * model.d_ff, scores)
        if activation_checkpointing == "on":
            layer, widest = WIDE * queries * width + read, widest + layer
        ends = 2 * WIDE + 2 * _dropped(run, WIDE, device=device)  # final norm, dropout
        saved += model.layers * layer + queries * width * ends
        working = max(working, widest)
    # The loss keeps the gradients of states and matrix, made on the way forward. Its peak is
    # a block of logits (two float32 copies, their product, and under autocast what enters and
    # leaves), or the scaled gradients on the way back.
    places, matrix = laid * shape.loss, WIDE * model.vocab_size * width
    block = min(places, rows_of_block(model.vocab_size, device=device)) * model.vocab_size
    tensors = shapes(model)
    matrices = sum(each.numel for each in tensors if each.role == "matrix")
    if activation_checkpointing == "on":
        matrices //= model.layers  # a layer's copies go with its recomputation
    return Footprint(
        tensors=tensors,
        saved=int(laid * saved + places * width * narrow + matrix),
        working=int(laid * working),
        logits=int(
            max(block * (3 * WIDE + (4 if autocast else 0)), places * width * WIDE + matrix)
        ),
        casts=2 * (matrices + model.vocab_size * width) if autocast else 0,
    )


def _position(run: Stage, queries: int, *, crosses: bool, device: Device) -> int:
    """Bytes that a layer saves for one position of a row of `queries`.

    A norm's input and normed input are float32. What enters or leaves a product is 16 bits wide
    under autocast, once for each product that reads it: a norm's output, attention's queries, keys,
    values and outputs, the gated MLP's two products, its gelu and what goes into the last one. A
    relative bias writes the softmax out, in float32 and as it enters the product with the values;
    on a CPU, torch's attention has a mask for intervals that are neither causal nor full.
    """
    model = model_of(run)
    autocast = run.training.precision == "bfloat16_autocast"
    narrow, norms = 2 if autocast else WIDE, 3 if crosses else 2
    width, inner = model.d_model, model.heads * model.d_head
    outputs = norms + 3 if autocast else norms  # three products read the first norm's, two the last
    wide = 2 * norms * width
    products = outputs * width + (6 if crosses else 4) * inner + 4 * model.d_ff
    scores = 0
    if _biased(run):
        scores = model.heads * queries * (WIDE + (2 if autocast else 0))
    elif device == "cpu" and _masked(run):
        scores = narrow * queries
    dropped = _dropped(run, narrow, device=device) * (norms * width + model.d_ff)
    return WIDE * wide + narrow * products + scores + dropped


def _dropped(run: Stage, width: int, *, device: Device) -> int:
    """Bytes of a dropout's mask a number: one on a GPU, the number's own on a CPU."""
    if run.training.dropout == 0.0:
        return 0
    return 1 if device == "cuda" else width


def _biased(run: Stage) -> bool:
    return model_of(run).positions in ("t5_bias", "t5_bias_paper")


def _masked(run: Stage) -> bool:
    """Whether a self-attention's intervals are neither causal nor full, as a rule."""
    if model_of(run).architecture == "prefix_decoder" or isinstance(run, Finetune):
        return True
    return run.packing.document_masking
