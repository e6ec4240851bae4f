"""The learnable causal Monarch matrix: the matrix it says, causal, document by document."""

from __future__ import annotations

import pytest
import torch

from kernels.longconv import causal_monarch, causal_monarch_matrix
from kernels.visibility import causal, packed

DOCUMENTS = [[(3, 2), (9, 0), (1, 1), (6, 6)], [(16, 5)], [(2, 0)]]


def factors(size: int, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (size, size, size)
    return [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2)]


def inputs(rows: int, length: int, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, length, 3, generator=generator, dtype=dtype)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_it_is_lower_triangular(size: int):
    matrix = causal_monarch_matrix(*factors(size))
    assert not matrix.triu(1).any()
    assert (matrix.diagonal() != 0).all()
    for length in {size * size, max(1, size * size - 2)}:
        given = inputs(2, length)
        found = causal_monarch(given, *factors(size), causal(rows=2, length=length))
        torch.testing.assert_close(found, matrix[:length, :length] @ given)


def test_documents_are_counted_from_their_own_beginnings():
    """Prefixes do not matter; padding and what sees nothing stay zero."""
    matrix = causal_monarch_matrix(*factors(4))
    given = inputs(3, 20)
    found = causal_monarch(given, *factors(4), packed(DOCUMENTS, length=20))
    for row, documents in enumerate(DOCUMENTS):
        place = 0
        for size, _ in documents:
            inside = slice(place, place + size)
            wanted = matrix[:size, :size] @ given[row, inside]
            torch.testing.assert_close(found[row, inside], wanted)
            place += size
        assert not found[row, place:].any()


def test_no_later_position_and_no_other_document_reaches_an_output():
    first, second = factors(4, torch.float32)
    given, visibility = inputs(3, 20, torch.float32), packed(DOCUMENTS, length=20)
    before = causal_monarch(given, first, second, visibility)
    may = visibility.causal_part.dense()
    for row, place in ((0, 1), (0, 3), (0, 12), (0, 13), (1, 7), (2, 1)):
        other = given.clone()
        other[row, place] += 1.0
        changed = (causal_monarch(other, first, second, visibility) != before).any(-1)
        assert changed[row, place]
        assert not changed[row][~may[row, :, place]].any()
        assert not changed[[each for each in range(3) if each != row]].any()


def test_gradients():
    first, second = (each.requires_grad_() for each in factors(3))
    documents = packed([[(2, 0), (5, 3)], [(9, 0)]], length=9)
    given = inputs(2, 9).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *each: causal_monarch(*each, documents), (given, first, second)
    )


def test_it_is_an_operator():
    from kernels.longconv import causal
    from kernels.longconv.segments import segments

    known = segments(packed(DOCUMENTS, length=20).causal_part)
    given = [each.requires_grad_() for each in (inputs(3, 20), *factors(4))]
    torch.library.opcheck(causal._forward, (*given, known.table, known.groups))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"17 positions for blocks of 4; legal: up to 16, .* of 5"):
        causal_monarch(inputs(1, 17), *factors(4), causal(rows=1, length=17))
    with pytest.raises(ValueError, match=r"second is \(2, 2, 2\); legal: \(4, 4, 4\)"):
        causal_monarch(inputs(1, 4), factors(4)[0], factors(2)[0], causal(rows=1, length=4))
