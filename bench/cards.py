"""What a card can do at most, by the name its driver gives it, and the roofline that follows.

Peaks are the vendors' dense figures: float16 and bfloat16 on tensor cores with float32 sums,
float32 without them (the kernels multiply float32 in full). A card that is not here has no
roofline: figures are printed and the ratio says "unknown".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Card:
    """half, single: FLOP/s in 16 and in 32 bits. bandwidth: bytes/s of its memory."""

    half: float
    single: float
    bandwidth: float

    def seconds(self, *, flops: float, moved: float, dtype: torch.dtype) -> float:
        """The least time for so many FLOPs and bytes moved, overlapped (Williams et al. 2009)."""
        peak = self.single if dtype == torch.float32 else self.half
        return max(flops / peak, moved / self.bandwidth)


CARDS = {
    "NVIDIA A100-SXM4-40GB": Card(half=312e12, single=19.5e12, bandwidth=1.555e12),
    "NVIDIA A100-SXM4-80GB": Card(half=312e12, single=19.5e12, bandwidth=2.039e12),
    "NVIDIA A100 80GB PCIe": Card(half=312e12, single=19.5e12, bandwidth=1.935e12),
    "NVIDIA H100 80GB HBM3": Card(half=989e12, single=67e12, bandwidth=3.35e12),
    "NVIDIA H100 PCIe": Card(half=756e12, single=51e12, bandwidth=2.0e12),
    "NVIDIA H200": Card(half=989e12, single=67e12, bandwidth=4.8e12),
    "NVIDIA L40S": Card(half=362e12, single=91.6e12, bandwidth=0.864e12),
    "NVIDIA GeForce RTX 4090": Card(half=165e12, single=82.6e12, bandwidth=1.008e12),
    "AMD Instinct MI300X": Card(half=1307e12, single=163e12, bandwidth=5.3e12),
}


def card_of(device: torch.device) -> tuple[str, Card | None]:
    """(name, what it can do, if known)"""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return name, CARDS.get(name)
