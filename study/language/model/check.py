"""`study check`: the environment, and the isolation self-test on demand.

Owns which models are tested: small ones of every architecture and position scheme, or the models of
the named runs, at their own size. What isolation means is `study.language.model.isolation`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from study.language.values.model import Architecture, Mixer, Model, Positions
from study.language.values.stages import Stage, model_of
from study.launch import environment
from study.show.terminal import table

Precision = Literal["float32", "bfloat16_autocast"]
MIXERS: dict[Mixer, dict[str, int]] = {
    "monarch": {"blocks": 4, "d_filter": 8, "span": 64},
    "ssd": {"d_state": 8},
}
"""Each mixer beside attention, with its own fields for the small models."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One model's isolation. reason: why it failed, None where it holds."""

    model: str
    precision: str
    probes: int
    reason: str | None


def show(target: str | None, *, store: Path, device: str, as_json: bool) -> int:
    """Print facts, faults and verdicts; the exit code is 0 where all is well and 1 otherwise."""
    facts = environment.describe(store=store, device=device)
    faults = environment.faults(facts)
    verdicts = [] if environment.misplaced() else list(_verdicts(target, device=device))
    bad = bool(faults) or any(each.reason for each in verdicts)
    if as_json:
        form = {
            "environment": facts,
            "faults": faults,
            "isolation": [asdict(each) for each in verdicts],
        }
        print(json.dumps(form, indent=1))
        return int(bad)
    table(("environment", ""), list(_flat(facts)))
    print()
    lines = [
        (each.model, each.precision, str(each.probes), "holds" if each.reason is None else "LEAKS")
        for each in verdicts
    ]
    table(("isolation", "precision", "probes", ""), lines)
    for text in [*faults, *(f"{each.model}: {each.reason}" for each in verdicts if each.reason)]:
        print(f"fault: {text}")
    return int(bad)


def _flat(facts: dict[str, Any], *, before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, before=f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value)


def _verdicts(target: str | None, *, device: str) -> Iterator[Verdict]:
    from study.language.model.build import build
    from study.language.model.isolation import IsolationError, check_isolation

    for name, model, precision in _models(target):
        built = build(model, dropout=0.0, seed=0)
        built.to(device)  # type: ignore[arg-type]
        try:
            found = check_isolation(
                built,
                architecture=model.architecture,
                vocab_size=model.vocab_size,
                precision=precision,
            )
        except IsolationError as error:
            yield Verdict(model=name, precision=precision, probes=0, reason=str(error))
        else:
            yield Verdict(model=name, precision=precision, probes=found.perturbations, reason=None)


def _models(target: str | None) -> Iterator[tuple[str, Model, Precision]]:
    if target is None:
        for architecture in get_args(Architecture):
            for positions in get_args(Positions):
                yield f"{architecture} {positions}", _tiny(architecture, positions), "float32"
            for mixer, own in MIXERS.items():
                model = replace(_tiny(architecture, "none"), mixer=mixer, **own)
                yield f"{architecture} {mixer}", model, "float32"
        return
    from study.runs.plan import load

    seen = set()
    for run in load(target).runs:
        if not isinstance(run, Stage):
            continue
        key = model_of(run), run.training.precision
        if key not in seen:
            seen.add(key)
            yield run.slug, *key


def _tiny(architecture: Architecture, positions: Positions) -> Model:
    return Model(
        architecture=architecture,
        mixer="attention",
        positions=positions,
        layers=2,
        d_model=32,
        heads=2,
        d_head=16,
        d_ff=64,
        vocab_size=64,
        tied=True,
    )
