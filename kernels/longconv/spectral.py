"""The long convolution by Fourier transforms, on torch's own, in O(T log T).

A convolution cannot be masked per document, so packed documents are regrouped: each becomes a row
of its own, zero beyond its end, beside others of its size (lengths rounded up to a power of two).
Nothing of one document can then reach another one. The grouping is found on the CPU, once per
`Visibility`.

A prefix is two convolutions: f over everything, and r over the prefix alone, kept for the prefix
alone. Where every document is all prefix they are one.

Axes: B rows, T positions, D channels, L taps, N documents of a group, M their common length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from kernels.visibility import Visibility

_GROUPED = "_grouped_by_length"
SHORTEST = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Documents of like length. places: in the flattened rows, 0 where `real` is not. in_prefix:
    places whose queries see the prefix as a whole.
    """

    places: Int64[Tensor, "N M"]
    real: Bool[Tensor, "N M"]
    in_prefix: Bool[Tensor, "N M"]
    any_prefix: bool
    all_prefix: bool


def groups(visibility: Visibility) -> tuple[Group, ...]:
    """The documents by length, on the visibility's device."""
    known = vars(visibility).get(_GROUPED)
    if known is None:
        known = vars(visibility)[_GROUPED] = tuple(_groups(visibility))
    return known


def _groups(visibility: Visibility):
    documents, length = visibility.documents, visibility.start.shape[1]
    device = visibility.start.device
    sizes = torch.tensor(
        [max(SHORTEST, 1 << (int(size) - 1).bit_length()) for size in documents.length],
        dtype=torch.int64,
    )
    for size in sizes.unique().tolist():
        chosen = sizes == size
        first = documents.row[chosen] * length + documents.start[chosen]
        offset = torch.arange(min(size, length))
        real = offset < documents.length[chosen][:, None]
        prefix = documents.prefix[chosen]
        in_prefix = real & (offset < prefix[:, None]) & (prefix > 1)[:, None]
        yield Group(
            places=torch.where(real, first[:, None] + offset, 0).to(device),
            real=real.to(device),
            in_prefix=in_prefix.to(device),
            any_prefix=bool(in_prefix.any()),
            all_prefix=bool((in_prefix | ~real).all()),
        )


def longconv_spectral(
    inputs: Float[Tensor, "B T D"],
    after: Float[Tensor, "D L"],
    before: Float[Tensor, "D L"] | None,
    visibility: Visibility,
) -> Float[Tensor, "B T D"]:
    """See `kernels.longconv.longconv`. Computes in float32 at least."""
    wide = torch.promote_types(inputs.dtype, torch.float32)
    flat = inputs.flatten(0, 1).to(wide)
    out = torch.zeros_like(flat)
    for group in groups(visibility):
        rows = flat[group.places] * group.real[..., None]  # (N, M, D)
        mixed = _convolved(rows, after.to(wide), None if before is None else before.to(wide), group)
        out = out.index_put((group.places[group.real],), mixed[group.real])
    return out.view_as(inputs).to(inputs.dtype)


def _convolved(
    rows: Float[Tensor, "N M D"],
    after: Float[Tensor, "D L"],
    before: Float[Tensor, "D L"] | None,
    group: Group,
) -> Float[Tensor, "N M D"]:
    length = rows.shape[1]
    around = 2 * length  # so long that nothing wraps around into the document
    spectrum = torch.fft.rfft(after[:, :length].t(), n=around, dim=0)  # (F, D)
    if group.any_prefix:
        assert before is not None
        # r[j - i - 1] is a filter one place late, run backwards: its spectrum's conjugate.
        late = functional.pad(before[:, : length - 1].t(), (0, 0, 1, 0))
        backwards = torch.fft.rfft(late, n=around, dim=0).conj()
        if group.all_prefix:
            spectrum = spectrum + backwards
        else:
            kept = group.in_prefix[..., None].to(rows.dtype)
            inside = torch.fft.rfft(rows * kept, n=around, dim=1)
            later = torch.fft.irfft(inside * backwards, n=around, dim=1)[:, :length] * kept
            return _applied(rows, spectrum) + later
    return _applied(rows, spectrum)


def _applied(rows: Float[Tensor, "N M D"], spectrum: Tensor) -> Float[Tensor, "N M D"]:
    around = 2 * rows.shape[1]
    transformed = torch.fft.rfft(rows, n=around, dim=1) * spectrum
    return torch.fft.irfft(transformed, n=around, dim=1)[:, : rows.shape[1]]
