"""The long convolution on torch's own Fourier transforms, on any device, in O(T log T).

Segments become rows of their own, zero beyond their ends, beside others of like length: nothing of
one document can reach another. `transform.py` has the transform, `operator.py` the rest.

Axes: P places, D channels, S segments, N segments of a group, M places of a transform.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from kernels.longconv.operator import TransformEngine, operator
from kernels.longconv.segments import BEGIN, HIGH, LIMIT, LOW, Group, rows_of
from kernels.longconv.transform import quarter


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
    transformed = _transformed(values, *rows_of(table, group, BEGIN, LIMIT), shift)
    places, kept = rows_of(table, group, LOW, HIGH)
    out[places[kept]] = _returned(transformed * spectrum, shift)[kept].to(out.dtype)


def differentiate(grad, values, spectrum, table, group: Group, grad_values, *, add: bool) -> Tensor:
    """See `operator.Differentiate`."""
    shift = quarter(group.size, dtype=spectrum.dtype, device=values.device)
    into = _transformed(grad, *rows_of(table, group, LOW, HIGH), shift)
    places, real = rows_of(table, group, BEGIN, LIMIT)
    known = grad_values[places[real]] if add else 0.0
    found = _returned(into * spectrum.conj_physical(), shift)[real]
    grad_values[places[real]] = (found + known).to(grad_values.dtype)
    return (into * _transformed(values, places, real, shift).conj_physical()).sum(0)


ENGINE = TransformEngine(convolve=convolve, differentiate=differentiate, padded=lambda size: size)
forward, backward = operator("longconv_spectral", ENGINE)
