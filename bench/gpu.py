"""`make gpu` (`python -m bench.gpu`): the kernels' parity on this machine's GPU, then their speed.

Runs every kernel test and the parity of full-size problems; if one is red, no speed is measured or
printed. Then each op beside its peers over lengths and patterns, in bfloat16. The table goes to the
screen as it grows, and to a folder. Exit codes: 0 done, 1 parity is red, 2 no GPU.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path

import torch

from bench import attention, linear
from bench.cards import card_of
from bench.contest import Problem, Result, contest
from bench.row import FEWEST
from bench.table import Column, Table, write
from kernels import full_size

OPS = ("attention", "ssd", "longconv", "blockdiag")
TESTS = ("tests/kernels",)
ROUNDS = 7


def _number(name: str, form: str) -> Column[Result]:
    return lambda found: "" if found[name] is None else format(found[name], form)


def _time(found: Result) -> str:
    return f"{found['ms']:.3g} ({found['ms_least']:.3g} to {found['ms_largest']:.3g})"


def _roofline(found: Result) -> str:
    """A part of a side has no work of its own; the limits of a card may not be known."""
    if found["tflops"] is not None and found["roofline"] is None:
        return "unknown"
    return _number("roofline", ".2f")(found)


TABLE: Table[Result] = Table(
    place={
        "op": itemgetter("op"),
        "pattern": itemgetter("pattern"),
        "T": _number("length", ""),
        "size": itemgetter("size"),
        "dtype": itemgetter("dtype"),
        "direction": itemgetter("direction"),
        "side": itemgetter("side"),
    },
    measured={
        "ms (least to largest)": _time,
        "TFLOP/s": _number("tflops", ".3g"),
        "GB/s": _number("gbytes", ".3g"),
        "peak MiB": _number("peak_mib", ".0f"),
        "of roofline": _roofline,
        "times ours": _number("times_ours", ".2f"),
    },
    why=itemgetter("note"),
)


def problems(
    ops: Iterable[str], lengths: Iterable[int], dtype: torch.dtype, device: torch.device
) -> Iterator[Problem]:
    """One after the other, so that only one is in memory."""
    make = {
        "attention": attention.problem,
        "ssd": linear.state_space,
        "longconv": linear.convolution,
    }
    for op in ops:
        if op == "blockdiag":
            yield linear.block_diagonal(tokens=full_size.TOKENS, dtype=dtype, device=device)
            continue
        for length in lengths:
            for pattern in full_size.PATTERNS:
                yield make[op](
                    pattern, rows=full_size.rows(length), length=length, dtype=dtype, device=device
                )


def measure(
    given: Iterable[Problem], device: torch.device, *, rounds: int, out: Path
) -> list[Result]:
    """Lines of all problems, printed and written as they come."""
    name, card = card_of(device)
    about = {
        "device": name if device.type == "cuda" else f"{name} (not a measurement)",
        "torch": torch.__version__,
        "triton": version("triton"),
        "rounds": str(rounds),
    }
    head = "".join(f"{key}: {value}\n" for key, value in about.items())
    results: list[Result] = []
    print(f"{head}\n{TABLE.head()}")
    for problem in given:
        found = contest(problem, card=card, device=device, rounds=rounds)
        results += found
        for result in found:
            print(TABLE.line(result), flush=True)
        written = f"{head}\n{TABLE.markdown(results)}\n"
        write(out / "table.md", written, {"about": about, "rows": results})
        del problem
        gc.collect()
        # Compiled peers are compiled per shape; a new problem is no recompilation of the old one.
        torch._dynamo.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return results


def parity() -> bool:
    """Whether every test of the kernels passes here, the full-size ones (marker `gpu`) included."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], check=False)
    return done.returncode == 0


def main(arguments: list[str] | None = None, *, green: Callable[[], bool] = parity) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path("reports/gpu"), help="folder")
    parser.add_argument("--ops", nargs="+", choices=OPS, default=OPS)
    parser.add_argument("--lengths", nargs="+", type=int, default=full_size.LENGTHS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {FEWEST}")
    asked = parser.parse_args(arguments)
    if asked.rounds < FEWEST:
        parser.error(f"--rounds {asked.rounds}; legal: {FEWEST} or more")
    if not torch.cuda.is_available():
        print(
            "No GPU: torch.cuda.is_available() is false here. Nothing was checked or timed.",
            file=sys.stderr,
        )
        return 2
    if not green():
        print("Parity is red: no speed is measured.", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    given = problems(asked.ops, asked.lengths, torch.bfloat16, device)
    measure(given, device, rounds=asked.rounds, out=asked.out)
    print(f"\nwritten to {asked.out}/table.md and table.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
