"""A process's first call of a vector function gives what the second gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernels import first_calls

STORM = Path(__file__).parent / "first_call.py"


class _Calls(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, torch.dtype]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if args and isinstance(args[0], torch.Tensor):
            assert args[0].numel() == 1, "two threads could share it"
            assert args[0].device.type == "cpu"
            self.seen.add((func.overloadpacket.__name__, found.dtype))
        return found


def test_every_function_is_called_in_both_types() -> None:
    with _Calls() as calls, torch.device("meta"):
        first_calls.make_first_calls()
    names = {function.__name__ for function in first_calls.FUNCTIONS}
    assert calls.seen == {(name, kind) for name in names for kind in (torch.float32, torch.float64)}


@pytest.mark.parametrize(
    "module",
    [
        "study.language.model.build",
        "study.auto",
        "study.language.scores.foreign",
        "study.language.scores.score",
    ],
)
def test_whatever_computes_has_settled_first(module: str) -> None:
    code = (
        "import torch; "
        "torch.cos = lambda _, cos=torch.cos: print('settled') or cos(_); "
        f"import {module}"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["settled"] * 2


@pytest.mark.slow
def test_no_first_call_differs_from_the_second() -> None:
    """Where torch alone is imported, about one process in a thousand was wrong."""
    found = subprocess.run(
        [sys.executable, STORM, "kernels", "8000"], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) == 0
