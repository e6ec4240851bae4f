"""What the pass of one micro-batch needs: activations, logits, 16-bit copies. No torch.

Owns the list of what autograd saves, tensor by tensor, on torch's fused attention or its kernels'
(tests count it in the built model). When in a step it is there is `study.costs.memory`'s.

Numbers in comments: n positions of a micro-batch, M model width, I = heads * d_head, F = d_ff.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from study.costs.footprint import WIDE, Device, Footprint
from study.language import cost
from study.language.cost import shapes
from study.language.values.model import Model
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
    # The loss keeps the gradients of states and matrix, made on the way forward. Its peak is
    # a block of logits (two float32 copies, their product, and under autocast what enters and
    # leaves), or the scaled gradients on the way back.
    matrix = WIDE * model.vocab_size * model.d_model
    saved_at_head = places * model.d_model * narrow + matrix
    block = min(places, rows_of_block(model.vocab_size, device=device)) * model.vocab_size
    at_head = max(
        block * (3 * WIDE + (2 * narrow if autocast else 0)),
        places * model.d_model * WIDE + matrix,
    )
    tensors = shapes(model)
    matrices = sum(each.numel for each in tensors if each.role == "matrix")
    if activation_checkpointing == "on":
        matrices //= model.layers  # a layer's copies go with its recomputation
    casts = 2 * (matrices + model.vocab_size * model.d_model)
    return Footprint(
        tensors=tensors,
        saved=int(laid * saved + saved_at_head),
        working=int(laid * working),
        logits=int(at_head),
        casts=casts if autocast else 0,
    )


def _masked(run: Stage) -> bool:
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
