"""The declared shapes and dtypes of tensors are the ones that occur."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "made" / "under_hook.py"


@pytest.mark.slow
def test_signatures_hold_through_the_life_of_every_model():
    found = subprocess.run(
        [sys.executable, str(PROGRAM)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert len(found.stdout.splitlines()) == 18
