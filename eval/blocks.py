"""The verdicts of a sweep's claims, one block for each model size.

Owns which verdicts stand together: Holm runs over the claims of one size.
"""

from __future__ import annotations

from collections.abc import Sequence

from eval import prose
from eval.cells import EXTERNAL
from eval.claims import Claim, of_size
from eval.estimates import OwnRuns
from eval.panel import Panel
from eval.prose import Block
from eval.verdicts import decide


def by_size(found: Sequence[Panel], claims: tuple[Claim, ...]) -> list[Block]:
    """The claims as each model size decides them; no block without claims."""
    if not claims:
        return []
    sizes = dict.fromkeys(panel.size for panel in found if panel.size != EXTERNAL) or {"": None}
    blocks = []
    for size in sizes:
        own = {panel.suite: panel for panel in found if panel.size == size}
        about = of_size(claims, size)
        decided = sum(1 for each in decide(about, OwnRuns(own, decided=1)) if each.p is not None)
        blocks.append(
            Block(
                name=size,
                verdicts=decide(about, OwnRuns(own, decided=decided)),
                other_end=decide(about, OwnRuns(own, decided=decided, end="other")),
                spread=prose.spread(own),
            )
        )
    return blocks
