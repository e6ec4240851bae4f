"""The report's LaTeX through a real pdflatex, with every table, figure and a hostile title."""

import subprocess

import made_reports as made
import pytest

from eval.report.report import write
from study.store.directory import Store


@pytest.mark.browser
def test_pdflatex_compiles_the_report(tmp_path):
    runs, store = made.study(3), Store(tmp_path / "runs")
    made.publish_all(runs, store, skip=("ed_mlm-ed_mtf-s0-micro",))
    made.validate_all(runs, store)
    sweep = made.sweep_of(runs, tmp_path, title=made.HOSTILE_LATEX)
    folder = write(sweep, store=store, out_dir=tmp_path / "out").parent
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (folder / "report.pdf").stat().st_size > 20_000
    wide = [line for line in done.stdout.splitlines() if line.startswith("Overfull")]
    assert not [line for line in wide if float(line.split("(")[1].split("pt")[0]) > 100], wide
