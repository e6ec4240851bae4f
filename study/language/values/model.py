"""The shape of a language model. No torch.

Owns frozen values and their legal ranges; the model is built by `study.language.model.build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from study.nn.shape import Mixer, Positions
from study.runs.legal import positive

Architecture = Literal["causal_decoder", "prefix_decoder", "encoder_decoder"]
ARCHITECTURE_SHORT: dict[str, str] = {
    "causal_decoder": "CD",
    "prefix_decoder": "ND",
    "encoder_decoder": "ED",
}
SMALLEST_BASIS = 10
"""The isolation test's documents have up to 91 places."""
_MIXERS_OWN: dict[Mixer, tuple[str, ...]] = {
    "ssd": ("d_state",),
    "monarch": ("blocks", "d_filter", "span"),
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's shape. `layers` counts the decoder's layers; an encoder-decoder has as many again
    in its encoder.

    tied: input and output embeddings are one tensor and logits are scaled by d_model ** -0.5
    (Raffel et al. 2020). d_state: state width a head of the mixer `ssd`. blocks, d_filter, span: of
    the mixer `monarch`, the blocks on the diagonal of its projections and its MLP, the width of the
    network that gives its filters, and the positions over which these fade. basis: the block size
    of its learned polynomial bases, which limits documents to basis ** 2 tokens; 0 is none. Each is
    0 elsewhere.
    """

    architecture: Architecture
    mixer: Mixer
    positions: Positions
    layers: int
    d_model: int
    heads: int
    d_head: int
    d_ff: int
    vocab_size: int
    tied: bool
    d_state: int = 0
    blocks: int = 0
    d_filter: int = 0
    span: int = 0
    basis: int = 0

    def __post_init__(self) -> None:
        positive(self, "layers", "d_model", "heads", "d_head", "d_ff", "vocab_size")
        for owner, names in _MIXERS_OWN.items():
            for name in names:
                number, own = getattr(self, name), self.mixer == owner
                if own != (number > 0):
                    raise ValueError(
                        f"Model.{name} is {number} for the mixer {self.mixer!r}; legal: "
                        + ("at least 1" if own else "0")
                    )
        if self.basis and (self.mixer != "monarch" or self.basis < SMALLEST_BASIS):
            raise ValueError(
                f"Model.basis is {self.basis} for the mixer {self.mixer!r}; legal: 0, and for "
                f"'monarch' {SMALLEST_BASIS} or more"
            )
        if self.mixer != "attention" and self.positions != "none":
            raise ValueError(
                f"Model.positions is {self.positions!r} for the mixer {self.mixer!r}, which knows "
                "order without; legal: 'none'"
            )
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"Model.d_head is {self.d_head}; rope needs an even number")
        widths = {"d_model": self.d_model, "heads * d_head": self.heads * self.d_head}
        widths["d_ff"] = self.d_ff
        for name, width in widths.items():
            if self.blocks and width % self.blocks:
                raise ValueError(
                    f"Model.{name} is {width} for {self.blocks} blocks; legal: a multiple of them"
                )
