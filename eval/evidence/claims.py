"""A claim as data: declared before scoring, decided by `eval.evidence.verdicts`, printed with its
digest.

Owns the vocabulary. Holds no numbers of any run and imports nothing heavy, since sweeps import it.
The claims themselves are files (`eval.claims.files`), and another paper's are another file. Whether
a sweep declares what they need is `eval.claims.needs`' question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from study.runs.cells import Cell
from study.store import declared

CHANCE: Cell = ("chance",)
"""The pseudo-cell whose score is the suite's chance."""

ContrastKind = Literal["greater", "positive", "equivalent", "not_greater"]
ClaimKind = Literal["greater", "equivalent", "not_greater", "interaction", "order", "ratio"]
Measure = Literal["score", "tokens_to_loss", "loss"]
Counted = Literal["incremental", "total"]
Matching = Literal["tokens", "unequal", "flops"]
Part = Literal["deciding", "shown"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum over cells, and what is said of it.

    weights: over cells; the claim is about the weighted sum of their measure.
    kind: `greater` than zero by a margin that matters; `positive` (a sign, as orders and
        interactions need); `equivalent` to zero within the margin; `not_greater` than zero by the
        margin.
    margin: in the unit of the measure.
    measure: `score`, of the suite, in [0, 1]; `tokens_to_loss`, the log of the tokens at which a
        cell first has the held-out loss that the first cell ends with; `loss`, held-out nats a
        token after equally many tokens of each cell's own last stage. The last two have no suite.
    counted: of tokens_to_loss, those of the cell's own last stage or of its whole lineage.
    part: a `shown` contrast is estimated and printed, and decides nothing.
    budget: which of the token budgets that all the cells have, ascending: -1 the largest, 0 the
        smallest. Tokens are those seen before finetuning. budgets: how many there must be.
    matching: `tokens` refuses cells of unequal budgets; `unequal` takes each cell's own and is
        labelled, for comparisons that the paper itself makes so; `flops` compares at equal training
        FLOPs, by interpolation between budgets.
    against: a suite whose mean over prompts is taken off the score, task by task, over the tasks
        that both suites have. outside: a suite whose tasks are left out; without: tasks left out.
    published: (benchmark, the paper's own number), in points; a factor for tokens_to_loss.
    """

    name: str
    suite: str
    weights: tuple[tuple[Cell, float], ...]
    kind: ContrastKind
    margin: float
    measure: Measure = "score"
    counted: Counted = "incremental"
    part: Part = "deciding"
    budget: int = -1
    budgets: int = 1
    matching: Matching = "tokens"
    against: str = ""
    outside: str = ""
    without: tuple[str, ...] = ()
    published: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a claim needs of one cell beside the scores that its components name.

    evidence: `curve`, held-out losses over the training of the lineage's last stage; `prompts`, one
    checkpoint scored on all of `suites`, which must share a task and be two at least.
    """

    cell: Cell
    evidence: Literal["curve", "prompts"]
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A conjunction of contrasts. Without any it cannot be decided here, and `reason` says why.

    source: whose claim it is. sizes: the model sizes that it is about, as `study.runs.cells` names
    them; empty for every size.
    """

    id: str
    text: str
    kind: ClaimKind
    components: tuple[Contrast, ...]
    needs: tuple[Need, ...] = ()
    reason: str = ""
    source: str = ""
    sizes: tuple[str, ...] = ()

    @property
    def deciding(self) -> tuple[Contrast, ...]:
        return tuple(each for each in self.components if each.part == "deciding")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A suite's name and the margin below which a difference on it does not matter."""

    suite: str
    margin: float


def digest(claims: Iterable[Claim]) -> str:
    """sha256 over the claims as data: two reports with one digest decided the same claims."""
    return declared.digest(claims)


def before(cell: str) -> Cell:
    """A cell after pretraining."""
    return (cell,)


def after(*cells: str) -> Cell:
    """A lineage after finetuning under its last architecture."""
    return (*cells, f"{cells[-1][:2]}:MTF")


def of_size(claims: Iterable[Claim], size: str) -> tuple[Claim, ...]:
    """The claims that are about this model size."""
    return tuple(claim for claim in claims if not claim.sizes or size in claim.sizes)
