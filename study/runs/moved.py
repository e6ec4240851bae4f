"""Where the modules went that a sweep of an earlier version imports.

Owns the names and the sentence that an import's error ends with. No torch.
"""

from __future__ import annotations

import re

MOVED = {
    "eval.claim_files": "eval.claims.files",
    "eval.claims": "eval.claims.claim",
    "eval.evidence.claims": "eval.claims.claim",
    "eval.published": "eval.evidence.published",
    "study.conventions": "study.language.values.conventions",
    "study.data_sets": "study.language.suites.data_sets",
    "study.decode": "study.runs.decode",
    "study.eai": "study.language.suites.eai",
    "study.execution": "study.runs.execution",
    "study.ladder": "study.language.recipes.ladder",
    "study.microworld": "study.language.recipes.microworld",
    "study.parts": "study.language.values",
    "study.pins": "study.sources.pins",
    "study.plan": "study.runs.plan",
    "study.presets": "study.language.recipes.presets",
    "study.published": "study.language.suites.published",
    "study.rates": "study.language.recipes.rates",
    "study.replication": "study.language.recipes.tree",
    "study.run": "study.language.values",
    "study.store": "study.store.directory",
    "study.suite_list": "study.language.recipes.suite_list",
    "study.suite_parts": "study.language.values",
    "study.t0": "study.language.suites.t0",
    "study.tree": "study.language.recipes.tree",
}
_NAME = re.compile(r"cannot import name '(\w+)'")


def moved(error: BaseException) -> str:
    """`; study.run is study.language.values now`, or nothing where the error is another."""
    if not isinstance(error, ImportError) or error.name is None:
        return ""
    found = _NAME.match(error.msg)
    names = [f"{error.name}.{found[1]}"] if found else []
    for name in (*names, error.name):
        if name in MOVED:
            return f"; {name} is {MOVED[name]} now"
    return ""
