"""`make bench` (`python -m bench`): every row in a process of its own, one after the other.

Rows that fail or refuse say so in the table and the others go on. Exit codes: 0 measured (goals met
or not), 1 a row failed or was refused, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import document
from bench.row import FEWEST, Bench, Row
from bench.same import Differs
from bench.table_rows import ROWS

BY_NAME = {row.name: row for row in ROWS}


def about(threads: int) -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "on": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or "unknown",
        "processor": _processor(),
        "threads": threads,
        "torch": version("torch"),
        "transformers": version("transformers"),
        "lm-eval": version("lm-eval"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(row: Row, *, shared: Path, rounds: int, threads: int) -> dict[str, Any]:
    """One row here and now."""
    import torch

    torch.set_num_threads(threads)
    if row.measure is None:
        raise Differs(f"`{row.command}` measures it")
    if row.gpu and not torch.cuda.is_available():
        raise Differs("there is no GPU here")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        finding = row.measure(
            Bench(folder=Path(folder), shared=shared, rounds=rounds, threads=threads)
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return document.as_json(finding) | {"peak_mib": peak, "about": about(threads)}


def _apart(row: Row, asked: argparse.Namespace) -> dict[str, Any]:
    """One row in a process of its own: its result, or its error."""
    with tempfile.NamedTemporaryFile(suffix=".json") as answer:
        command = [sys.executable, "-m", "bench", "--inside", row.name, "--answer", answer.name]
        command += ["--rounds", str(asked.rounds), "--threads", str(asked.threads)]
        command += ["--shared", str(asked.shared)]
        threads = {"OMP_NUM_THREADS": str(asked.threads), "TOKENIZERS_PARALLELISM": "true"}
        done = subprocess.run(command, env=os.environ | threads, check=False)
        text = Path(answer.name).read_text()
    if done.returncode or not text:
        return {"error": text or f"exit code {done.returncode}", "about": about(asked.threads)}
    return json.loads(text)


def _inside(asked: argparse.Namespace) -> int:
    try:
        found = measure(
            BY_NAME[asked.inside], shared=asked.shared, rounds=asked.rounds, threads=asked.threads
        )
    except Differs as error:
        asked.answer.write_text(str(error))
        return 1
    asked.answer.write_text(json.dumps(found))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--out", type=Path, default=Path(), help="where BENCHMARKS.md lies")
    parser.add_argument("--shared", type=Path, default=Path("reports/bench"), help="corpora")
    parser.add_argument("--rounds", type=int, default=FEWEST, help=f"at least {FEWEST}")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--inside", choices=BY_NAME, help=argparse.SUPPRESS)
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.rounds < FEWEST:
        parser.error(f"--rounds {asked.rounds}; legal: {FEWEST} or more")
    if unknown := [name for name in asked.rows if name not in BY_NAME]:
        parser.error(f"row {unknown[0]!r}; legal: {', '.join(BY_NAME)}")
    if asked.inside:
        return _inside(asked)
    results, failed = document.read(asked.out), 0
    gpu = shutil.which("nvidia-smi") is not None
    for row in ROWS:
        if row.measure is None or (row.gpu and not gpu):
            continue
        if asked.rows and row.name not in asked.rows:
            continue
        begun = time.monotonic()
        found = results[row.name] = _apart(row, asked)
        failed += "error" in found
        if "error" in found:
            print(f"{row.name}: refused: {found['error']}", file=sys.stderr)
        else:
            figure = document.from_json(found).figure
            took = time.monotonic() - begun
            print(f"{row.name}: {document.figure_text(figure)} in {took:.0f} s", flush=True)
        document.write(asked.out, ROWS, results)
    print(f"written to {asked.out / 'BENCHMARKS.md'} and benchmarks.json")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
