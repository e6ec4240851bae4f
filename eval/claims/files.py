"""Claims as files: what may stand in one, and a sweep's suites in the places of its benchmarks.

Owns the form of a claims file, read as strictly as a run file (`study.runs.decode`): every refusal
names its line. A file speaks of benchmarks by role (`eai`, `t0`); a sweep binds each role to a
suite of its own. Two roles bound to one suite make equal components one. Published claims lie
beside this module and are known by name; any other file is known by its path. No torch.

    CLAIMS = load("wang2022")                                   roles are suites of that name
    CLAIMS = load("redllm2025", {"eai": BENCHMARK, "t0": BENCHMARK})
    CLAIMS = load(Path(__file__).with_name("my_claims.yaml"))
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from eval.claims.claim import Benchmark, Claim, ClaimKind, Need
from eval.evidence.contrast import CHANCE, Contrast, ContrastKind, Counted, Matching, Measure, Part
from study.runs.cells import Cell, label
from study.runs.decode import DecodeError, decode_as
from study.runs.run import Evaluation, Run

PAPERS = Path(__file__).with_name("papers")
DEFAULT = "wang2022"
LOWEST_MARGIN = 1.0  # a factor

# what each component of a claim of this kind asks for, unless it says otherwise
_ASKS: dict[ClaimKind, ContrastKind] = {
    "greater": "greater",
    "equivalent": "equivalent",
    "not_greater": "not_greater",
    "interaction": "positive",
    "order": "positive",
    "ratio": "greater",
}
_SIGN = {"greater": ">", "positive": ">", "equivalent": "≈", "not_greater": "not >"}


@dataclass(frozen=True, kw_only=True)
class Role:
    """A benchmark that the claims are about. name: the paper's word for it. margin, item_error: in
    points; item_error is that of a published difference of two cells, from items alone.
    """

    role: str
    name: str
    margin: float
    item_error: float | None = None

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ValueError(f"margin is {self.margin}; legal: above 0 points")
        if self.item_error is not None and not self.item_error > 0:
            raise ValueError(f"item_error is {self.item_error}; legal: above 0 points")


@dataclass(frozen=True, kw_only=True)
class Term:
    """One weighted cell of a contrast of more than two."""

    weight: float
    cell: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One contrast, as `eval.evidence.contrast.Contrast` says, in the file's words.

    suite: a role. high, low: cells, stages joined by ` > `; low is left out with `against`. terms:
    in their place, where there are more than two. margin: another than the role's, in points, or
    than the file's factor. where: `apart` stands only where its role and the file's others are
    bound to different suites.
    """

    suite: str = ""
    high: str = ""
    low: str = ""
    terms: tuple[Term, ...] = ()
    kind: ContrastKind | None = None
    measure: Measure = "score"
    counted: Counted = "incremental"
    part: Part = "deciding"
    margin: float | None = None
    budget: int = -1
    budgets: int = 1
    matching: Matching = "tokens"
    against: str = ""
    outside: str = ""
    without: tuple[str, ...] = ()
    where: Literal["always", "apart"] = "always"
    published: float | None = None

    def __post_init__(self) -> None:
        if bool(self.high) == bool(self.terms):
            raise ValueError("a component has high and low, or terms; legal: one of these")
        pair = bool(self.low) or bool(self.against) or bool(self.terms)
        if not pair or (self.low and self.terms):
            raise ValueError("a component compares high with low; legal: a cell or `chance` as low")
        if self.measure == "score" and not self.suite:
            raise ValueError("a component without a suite; legal: a role, unless it is of losses")
        if self.measure != "score" and (self.suite or self.against or self.outside or self.terms):
            raise ValueError(f"{self.measure} is of losses; legal: high and low, without a suite")
        if self.budgets < 1 or not -self.budgets <= self.budget < self.budgets:
            raise ValueError(
                f"budget {self.budget} of {self.budgets}; legal: -{self.budgets} to "
                f"{self.budgets - 1}"
            )
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin is {self.margin}; legal: above 0")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """As `eval.claims.claim.Need`, of a claim that nothing here can decide."""

    cell: str
    evidence: Literal["curve", "prompts"]
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One claim. reason: why it has no component, which only such a claim has."""

    id: str
    text: str
    kind: ClaimKind
    components: tuple[Component, ...] = ()
    needs: tuple[Wanted, ...] = ()
    reason: str = ""
    sizes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        deciding = [each for each in self.components if each.part == "deciding"]
        if bool(deciding) == bool(self.reason):
            raise ValueError(
                f"claim {self.id} has {len(deciding)} deciding components and the reason "
                f"{self.reason!r}; legal: components, or a reason why there are none"
            )


@dataclass(frozen=True, kw_only=True)
class File:
    """A claims file. source: whose claims. ratio_margin: the factor of tokens, or of perplexity,
    below which a difference does not matter.
    """

    source: str
    suites: tuple[Role, ...]
    claims: tuple[Entry, ...]
    ratio_margin: float = 1.1

    def __post_init__(self) -> None:
        if not self.ratio_margin > LOWEST_MARGIN:
            raise ValueError(f"ratio_margin is {self.ratio_margin}; legal: above {LOWEST_MARGIN}")

    def roles(self) -> dict[str, Role]:
        return {each.role: each for each in self.suites}


def published() -> tuple[str, ...]:
    """Names of the claims files that come with this package."""
    return tuple(sorted(path.stem for path in PAPERS.glob("*.yaml")))


def find(name: str | Path) -> Path:
    """The file of a name or of a path. Raises ValueError naming what there is."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise ValueError(f"{path}: no such claims file")
    known = published()
    if str(name) in known:
        return PAPERS / f"{name}.yaml"
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"legal: {', '.join(known)}"
    raise ValueError(f"no claims are named {str(name)!r}; {hint} Or a path that ends in .yaml")


def read(name: str | Path) -> File:
    """A claims file as it stands. Raises DecodeError with the line that is wrong."""
    path = find(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(f"{path}:1: not UTF-8 text ({error})") from None
    return decode_as(text, File, name=str(path), check=_consistent())


def load(name: str | Path, suites: Mapping[str, Benchmark] | None = None) -> tuple[Claim, ...]:
    """The claims of a file on a sweep's suites.

    suites: role -> the sweep's suite and its margin; a role that is left out is a suite of its own
    name, with the file's margin. Raises ValueError for a role that the file does not have.
    """
    return bind(read(name), suites or {})


class SweepLike(Protocol):
    """What binding needs of a plan (`study.runs.plan.Sweep`)."""

    @property
    def path(self) -> Path: ...
    @property
    def runs(self) -> tuple[Run, ...]: ...
    @property
    def module(self) -> ModuleType | None: ...


def for_sweep(name: str | Path, sweep: SweepLike) -> tuple[Claim, ...]:
    """A file's claims on a sweep that does not declare them: on the sweep's SUITES (role ->
    Benchmark) where it has these, else on suites of the roles' own names.

    Raises ValueError where the sweep has neither.
    """
    file = read(name)
    own: Mapping[str, Benchmark] = getattr(sweep.module, "SUITES", {})
    scored = {run.suite.name for run in sweep.runs if isinstance(run, Evaluation)}
    lacking = [role for role in file.roles() if role not in own and role not in scored]
    if lacking:
        raise ValueError(
            f"{sweep.path} says not which suite is {' and '.join(lacking)}; legal: "
            f"SUITES = {{{lacking[0]!r}: Benchmark(...)}} in it, of its suites "
            f"{', '.join(sorted(scored)) or '(none)'}"
        )
    return bind(file, {role: own[role] for role in file.roles() if role in own})


def paper_claims(suite: str, margin: float) -> tuple[Claim, ...]:
    """The paper's claims read on one suite, which stands for both of its benchmarks."""
    one = Benchmark(suite=suite, margin=margin)
    return paper_claims_on(eai=one, t0=one)


def paper_claims_on(*, eai: Benchmark, t0: Benchmark) -> tuple[Claim, ...]:
    """The paper's claims on suites in the places of its two benchmarks."""
    return load(DEFAULT, {"eai": eai, "t0": t0})


def bind(file: File, suites: Mapping[str, Benchmark]) -> tuple[Claim, ...]:
    """As `load`, of a file that was read."""
    roles = file.roles()
    if unknown := sorted(suites.keys() - roles.keys()):
        raise ValueError(f"no role {unknown[0]!r} in the claims; legal: {', '.join(roles)}")
    bound = {
        role: suites.get(role, Benchmark(suite=role, margin=each.margin / 100))
        for role, each in roles.items()
    }
    place = _Place(file=file, bound=bound)
    return tuple(
        Claim(
            id=entry.id,
            text=entry.text,
            kind=entry.kind,
            components=place.components(entry),
            needs=tuple(place.need(each) for each in entry.needs),
            reason=entry.reason,
            source=file.source,
            sizes=entry.sizes,
        )
        for entry in file.claims
    )


def cell_of(text: str) -> Cell:
    """`CD:FLM > CD:MTF` as a lineage."""
    return CHANCE if text == CHANCE[0] else tuple(part.strip() for part in text.split(" > "))


def _consistent() -> Callable[[Any], None]:
    """Refuses roles that are not declared before they are used, and ids that stand twice."""
    roles: set[str] = set()
    ids: set[str] = set()

    def once(word: str, among: set[str], what: str) -> None:
        if word in among:
            raise ValueError(f"a second {what} {word!r}; legal: each once")
        among.add(word)

    def known(word: str) -> None:
        if word and word not in roles:
            told = ", ".join(sorted(roles)) or "none yet, `suites` stands before `claims`"
            raise ValueError(f"no role {word!r}; legal: {told}")

    def check(value: Any) -> None:
        match value:
            case Role():
                once(value.role, roles, "role")
            case Entry():
                once(value.id, ids, "claim")
            case Component():
                for word in (value.suite, value.against, value.outside):
                    known(word)
            case Wanted():
                for word in value.suites:
                    known(word)

    return check


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A file's words in the place of one sweep."""

    file: File
    bound: Mapping[str, Benchmark]

    def components(self, entry: Entry) -> tuple[Contrast, ...]:
        """Each contrast once; equal ones keep both benchmarks' numbers."""
        together = len({each.suite for each in self.bound.values()}) < len(self.bound)
        found: dict[Contrast, tuple[tuple[str, float], ...]] = {}
        for each in entry.components:
            if each.where == "apart" and together:
                continue
            made = self.contrast(each, entry.kind)
            bare = replace(made, published=())
            found[bare] = (*found.get(bare, ()), *made.published)
        return tuple(replace(bare, published=numbers) for bare, numbers in found.items())

    def contrast(self, each: Component, kind: ClaimKind) -> Contrast:
        weights = tuple((cell_of(term.cell), term.weight) for term in each.terms)
        if not weights:
            weights = ((cell_of(each.high), 1.0),)
            weights += ((cell_of(each.low), -1.0),) if each.low else ()
        asks = each.kind or _ASKS[kind]
        suite = self.bound[each.suite].suite if each.suite else ""
        against = self.bound[each.against].suite if each.against else ""
        outside = self.bound[each.outside].suite if each.outside else ""
        name = self.file.roles()[each.suite].name if each.suite else ""
        return Contrast(
            name=_name(each, weights, asks, against=against, outside=outside),
            suite=suite,
            weights=weights,
            kind=asks,
            margin=self.margin(each),
            measure=each.measure,
            counted=each.counted,
            part=each.part,
            budget=each.budget,
            budgets=each.budgets,
            matching=each.matching,
            against=against,
            outside=outside,
            without=each.without,
            published=() if each.published is None else ((name, each.published),),
        )

    def margin(self, each: Component) -> float:
        if each.measure != "score":
            return math.log(each.margin or self.file.ratio_margin)
        return self.bound[each.suite].margin if each.margin is None else each.margin / 100

    def need(self, each: Wanted) -> Need:
        suites: Iterable[str] = dict.fromkeys(self.bound[role].suite for role in each.suites)
        return Need(cell=cell_of(each.cell), evidence=each.evidence, suites=tuple(suites))


def _name(
    each: Component,
    weights: tuple[tuple[Cell, float], ...],
    asks: ContrastKind,
    *,
    against: str,
    outside: str,
) -> str:
    """How a contrast reads, without its suite."""
    if each.terms:
        return " ".join(f"{weight:+g} {label(cell)}" for cell, weight in weights)
    high = label(weights[0][0])
    if against and not each.low:
        return f"{high}: its prompts {_SIGN[asks]} the mean prompt of {against}, shared tasks"
    told = f"{high} {_SIGN[asks]} {label(weights[1][0])}"
    match each.measure:
        case "tokens_to_loss":
            last = "all tokens" if each.counted == "total" else "tokens"
            return f"{last} to the loss: {told}"
        case "loss":
            return f"loss at equal tokens of the last stage: {told}"
        case "score":
            left = [f"tasks of {outside}"] if outside else []
            left += list(each.without)
            if each.matching == "flops":
                told = f"{told} at equal FLOPs"
            return f"{told} without {' and '.join(left)}" if left else told
