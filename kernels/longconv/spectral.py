"""The long convolution on torch's own Fourier transforms, on any device, in O(T log T).

Segments become rows of their own, zero beyond their ends, beside others of like length: nothing of
one document can reach another. `transform.py` has the transform, `operator.py` the rest.

Axes: P places, D channels, S segments, N segments of a group, M places of a transform.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Float, Int64
from torch import Tensor

from kernels.longconv.operator import Engine, operator
from kernels.longconv.segments import BEGIN, FIRST, HIGH, LIMIT, LOW, Group
from kernels.longconv.transform import quarter


def _rows(
    table: Int64[Tensor, "5 S"], group: Group, low: int, high: int
) -> tuple[Int64[Tensor, "N M"], Bool[Tensor, "N M"]]:
    """Each segment's places in the flattened rows, and which lie in [table[low], table[high])."""
    each = table[:, group.first : group.last, None]
    offset = torch.arange(group.size, device=table.device)
    real = (offset >= each[low]) & (offset < each[high])
    return torch.where(real, each[FIRST] + offset, 0), real


def _transformed(
    values: Float[Tensor, "P D"], places: Tensor, real: Tensor, shift: Complex[Tensor, " M"]
) -> Complex[Tensor, "N M D"]:
    wide = torch.promote_types(values.dtype, torch.float32)
    rows = values[places].masked_fill_(~real[..., None], 0.0).to(wide)
    return torch.fft.fft(rows * shift[:, None], dim=1)


def _returned(spectrum: Complex[Tensor, "N M D"], shift: Complex[Tensor, " M"]) -> Tensor:
    return (torch.fft.ifft(spectrum, dim=1) * shift.conj_physical()[:, None]).real


def convolve(values, spectrum, table, group: Group, out) -> None:
    """See `operator.Convolve`."""
    shift = quarter(group.size, dtype=spectrum.dtype, device=values.device)
    transformed = _transformed(values, *_rows(table, group, BEGIN, LIMIT), shift)
    places, kept = _rows(table, group, LOW, HIGH)
    out[places[kept]] = _returned(transformed * spectrum, shift)[kept].to(out.dtype)


def differentiate(grad, values, spectrum, table, group: Group, grad_values, *, add: bool) -> Tensor:
    """See `operator.Differentiate`."""
    shift = quarter(group.size, dtype=spectrum.dtype, device=values.device)
    into = _transformed(grad, *_rows(table, group, LOW, HIGH), shift)
    places, real = _rows(table, group, BEGIN, LIMIT)
    known = grad_values[places[real]] if add else 0.0
    found = _returned(into * spectrum.conj_physical(), shift)[real]
    grad_values[places[real]] = (found + known).to(grad_values.dtype)
    return (into * _transformed(values, places, real, shift).conj_physical()).sum(0)


ENGINE = Engine(convolve=convolve, differentiate=differentiate, padded=lambda size: size)
forward, backward = operator("longconv_spectral", ENGINE)
