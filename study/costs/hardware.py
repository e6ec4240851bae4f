"""Cards by name: what they multiply a second at most, what they hold, and how long a plan takes.

Owns the table and the division. Peaks are the vendors' dense bfloat16 figures; what share of one a
training reaches (model FLOPs utilisation, Chowdhery et al. 2022) is the caller's to state.
No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

USABLE = 0.95
"""The share of a card's memory that a training may plan for: a CUDA context, NCCL's buffers and the
allocator's gaps take the rest."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """flops: dense bfloat16 FLOP/s. memory: bytes. source: where both are from."""

    name: str
    flops: float
    memory: float
    source: str

    @property
    def usable(self) -> float:
        return USABLE * self.memory


CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card(
            name="a100",
            flops=312e12,
            memory=80e9,
            source="NVIDIA A100 80GB data sheet (SXM)",
        ),
        Card(
            name="h100",
            flops=989e12,
            memory=80e9,
            source="NVIDIA H100 data sheet (SXM; 1,979 TFLOP/s with sparsity)",
        ),
        Card(
            name="h200",
            flops=989e12,
            memory=141e9,
            source="NVIDIA H200 data sheet (SXM; 1,979 TFLOP/s with sparsity)",
        ),
        Card(
            name="b200",
            flops=2250e12,
            memory=180e9,
            source="NVIDIA DGX B200 data sheet, an eighth (36 PFLOP/s with sparsity, 1,440 GB)",
        ),
        Card(
            name="mi300x",
            flops=1307e12,
            memory=192e9,
            source="AMD Instinct MI300X data sheet",
        ),
        Card(
            name="tpu-v4",
            flops=275e12,
            memory=32e9,
            source="Google Cloud TPU v4 documentation, a chip (32 GiB)",
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A card and the share of its peak that a training reaches, in (0, 1]."""

    card: Card
    mfu: float

    def __post_init__(self) -> None:
        if not 0.0 < self.mfu <= 1.0:
            raise ValueError(f"MFU is {self.mfu:g}; legal: above 0, at most 1")

    def hours(self, flops: float) -> float:
        """Card-hours of so many model FLOPs."""
        return flops / (self.card.flops * self.mfu) / 3600


def hardware(name: str, *, mfu: float) -> Hardware:
    """Raises ValueError naming the cards that are known."""
    if name not in CARDS:
        raise ValueError(f"hardware {name!r}; legal: {', '.join(CARDS)}")
    return Hardware(card=CARDS[name], mfu=mfu)
