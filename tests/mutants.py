"""Mutation testing: does a test say what is right, wherever a module decides a result?

    python tests/mutants.py [MODULE …] [--each 25] [--seed 1] [--workers 2] [--out FILE]

Owns the operators, the seeded sample and the account. Each mutant is one small change to one module
in a clone of the committed tree; the tests that own the module (`mutants.toml`) run on it, stop at
the first failure, and have `LIMIT` seconds, or three times as long as without a change. Golden
files are no such tests: a digest that moved does not say what is right. Nothing is changed in
strings, annotations, decorators, assertions, log messages and errors' words.

A mutant is *caught* where a test fails or the tests hang; what lives and is equal in effect to the
original is listed in `mutants.toml` with the reason, and counts neither way.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

ROOT = Path(__file__).parent.parent
LIMIT = 60.0
DESELECTED = "not golden and not pinned and not are_what_they_were"
MARKS = "not slow and not gpu and not cluster and not browser"
# what a message is made of, not what is computed
_LOGGING = {"log_warning", "warn", "warning", "info", "debug", "print", "logging", "progress"}

_LINE = "{outcome:9} {seconds:5} s  {module}:{line}  {what}  | {code}  {told}"

Change = Callable[[], None]

_COMPARED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_COMBINED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_CALLED = {
    "min": "max", "max": "min", "any": "all", "all": "any", "mean": "median", "median": "mean",
    "floor": "ceil", "ceil": "floor", "argmax": "argmin", "sorted": "list", "sum": "max",
    "zeros": "ones", "ones": "zeros", "minimum": "maximum", "maximum": "minimum",
}  # fmt: skip


def places(tree: ast.Module) -> list[tuple[int, str, Change]]:
    """(line, what is changed, the change itself) of every place, in the tree's order."""
    return list(_below(tree))


def _below(node: ast.AST) -> Iterator[tuple[int, str, Change]]:
    yield from _own(node)
    if isinstance(node, ast.Raise):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _silent(child):
                yield from _below(child)


def _silent(node: ast.AST) -> bool:
    """What is never changed: words, invariants, logging, what type checkers alone read."""
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name == "__all__":
            return True
        case ast.Expr(value=ast.Call(func=function)) | ast.Call(func=function):
            words = {each.id for each in ast.walk(function) if isinstance(each, ast.Name)}
            words |= {each.attr for each in ast.walk(function) if isinstance(each, ast.Attribute)}
            return bool(words & _LOGGING)
        case _:
            return False


def _own(node: ast.AST) -> Iterator[tuple[int, str, Change]]:
    line = getattr(node, "lineno", 0)

    def found(what: str, change: Change) -> tuple[int, str, Change]:
        return line, what, change

    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                other = _COMPARED[type(operator)]
                yield found(_to(operator, other), _set(node.ops, index, other()))
        case ast.BoolOp():
            flipped = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield found(_to(node.op, flipped), _field(node, "op", flipped()))
        case ast.BinOp(op=operator) if type(operator) in _COMBINED and not _is_text(node):
            other = _COMBINED[type(operator)]
            yield found(_to(operator, other), _field(node, "op", other()))
        case ast.AugAssign(op=operator) if type(operator) in _COMBINED and not _is_text(node):
            other = _COMBINED[type(operator)]
            yield found(_to(operator, other) + " in place", _field(node, "op", other()))
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield found(f"{type(node.op).__name__} dropped", _becomes(node, node.operand))
        case ast.Constant(value=bool(value)):
            yield found(f"{value} flipped", _field(node, "value", not value))
        case ast.Constant(value=int(value)):
            yield found(f"{value} -> {value + 1}", _field(node, "value", value + 1))
        case ast.Constant(value=float(value)):
            yield found(f"{value} -> {2 * value or 1.0}", _field(node, "value", 2 * value or 1.0))
        case ast.If() | ast.While() | ast.IfExp():
            negated = ast.UnaryOp(op=ast.Not(), operand=node.test)
            yield found("condition negated", _field(node, "test", negated))
        case ast.comprehension():
            for index, test in enumerate(node.ifs):
                yield test.lineno, "filter dropped", _set(node.ifs, index, ast.Constant(value=True))
        case ast.Slice():
            for end in ("lower", "upper"):
                if getattr(node, end) is not None:
                    yield found(f"{end} bound dropped", _field(node, end, None))
        case ast.Call():
            for keyword in node.keywords:
                if keyword.arg is not None:
                    yield found(f"{keyword.arg}= dropped", _without(node.keywords, keyword))
            name = {ast.Name: "id", ast.Attribute: "attr"}.get(type(node.func), "")
            if (word := getattr(node.func, name, None)) in _CALLED:
                yield found(f"{word} -> {_CALLED[word]}", _field(node.func, name, _CALLED[word]))
        case ast.Expr(value=ast.Call()):
            yield found("call dropped", _field(node, "value", ast.Constant(value=None)))
        case ast.Raise() | ast.Break() | ast.Continue():
            yield found(f"{type(node).__name__.lower()} dropped", _becomes(node, ast.Pass()))


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    below = list(ast.walk(node))
    return any(
        isinstance(each, ast.JoinedStr)
        or (isinstance(each, ast.Constant) and isinstance(each.value, str))
        for each in below
    )


def _to(operator: ast.AST, other: type) -> str:
    return f"{type(operator).__name__} -> {other.__name__}"


def _field(node: Any, name: str, value: Any) -> Change:
    return lambda: setattr(node, name, value)


def _set(items: list, index: int, value: Any) -> Change:
    return lambda: items.__setitem__(index, value)


def _without(items: list, item: Any) -> Change:
    return lambda: items.remove(item)


def _becomes(node: ast.AST, other: ast.AST) -> Change:
    """The node in place becomes another: class and fields."""

    def change() -> None:
        fields = {name: getattr(other, name) for name in other._fields}
        node.__class__ = type(other)
        node.__dict__ |= fields

    return change


def mutated(source: str, index: int) -> str:
    tree = ast.parse(source)
    places(tree)[index][2]()
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def sample(module: str, *, each: int, seed: int) -> list[dict[str, Any]]:
    """The drawn mutants of one module. Changes that leave the code as it was are drawn no more."""
    source = (ROOT / module).read_text(encoding="utf-8")
    lines = source.splitlines()
    found = places(ast.parse(source))
    order = random.Random(f"{seed}\0{module}").sample(range(len(found)), min(each, len(found)))
    return [
        {
            "module": module,
            "index": index,
            "line": found[index][0],
            "what": found[index][1],
            "code": lines[found[index][0] - 1].strip(),
            "places": len(found),
        }
        for index in sorted(order)
    ]


def work(copy: Path) -> None:
    """A worker: mutants on standard input, a line each; outcomes on standard output. It imports
    what is not ours once and forks, since that takes longer than most tests.
    """
    os.chdir(copy)
    os.environ |= {"TRITON_INTERPRET": "1", "PYTHONPATH": str(copy), "PYTHONHASHSEED": "0"}
    sys.path.insert(0, str(copy))
    sys.dont_write_bytecode = True
    import datasets  # noqa: F401
    import hypothesis  # noqa: F401
    import lm_eval.evaluator  # noqa: F401
    import pytest
    import scipy.stats  # noqa: F401
    import torch._dynamo
    import transformers  # noqa: F401

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        file = copy / job["module"]
        source = file.read_text(encoding="utf-8")
        if job["index"] is not None:
            file.write_text(mutated(source, job["index"]), encoding="utf-8")
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        begun = time.monotonic()
        try:
            status, told = _tested(job, pytest)
        finally:
            file.write_text(source, encoding="utf-8")
        job |= {"outcome": status, "told": told, "seconds": round(time.monotonic() - begun, 1)}
        print(json.dumps(job), file=answers, flush=True)


def _tested(job: dict[str, Any], pytest: Any) -> tuple[str, str]:
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            asked = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"]
            asked += ["--hypothesis-seed=0", "-m", MARKS, "-k", DESELECTED]
            code = 1
            try:
                code = int(pytest.main([*asked, *job["tests"]]))
            finally:
                sys.stdout.flush()
                os._exit(code)
        status = _waited(child, limit=job["limit"])
        output.seek(0)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output.read(), re.MULTILINE)
    if status is None:
        return "timed out", ""
    return ("lived" if status == 0 else "caught"), (failed[0] if failed else f"exit {status}")


def _waited(child: int, *, limit: float) -> int | None:
    """The exit status, or None where the limit ended it; nothing that it started goes on."""
    end = time.monotonic() + limit
    status: int | None = None
    while time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return status


def run(jobs: list[dict[str, Any]], *, workers: int, out: Path) -> list[dict[str, Any]]:
    waiting: Queue = Queue()
    for job in jobs:
        waiting.put(job)
    done: list[dict[str, Any]] = []
    lock = threading.Lock()

    def serve(copy: Path) -> None:
        command = [sys.executable, str(ROOT / "tests" / "mutants.py"), "--worker", str(copy)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            while True:
                try:
                    job = waiting.get_nowait()
                except Empty:
                    break
                worker.stdin.write(json.dumps(job) + "\n")
                worker.stdin.flush()
                answer = json.loads(worker.stdout.readline())
                with lock:
                    done.append(answer)
                    out.write_text(json.dumps(done, indent=1) + "\n")
                    print(_LINE.format(**answer), flush=True)
            worker.stdin.close()

    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copies = [Path(scratch) / str(index) for index in range(workers)]
        for copy in copies:
            subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
            subprocess.run([sys.executable, "-m", "compileall", "-q", str(copy)], check=False)
        threads = [threading.Thread(target=serve, args=(copy,)) for copy in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return done


def main() -> None:
    settings = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text(encoding="utf-8"))
    owners: dict[str, list[str]] = settings["modules"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help="as in mutants.toml; all of them without one")
    parser.add_argument("--each", type=int, default=25, help="mutants of a module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker is not None:
        work(asked.worker)
        return
    if unknown := set(asked.modules) - set(owners):
        parser.error(f"no module {', '.join(sorted(unknown))}; legal: {', '.join(owners)}")
    chosen = asked.modules or list(owners)
    unchanged = {"index": None, "line": 0, "what": "unchanged", "code": "", "limit": 10 * LIMIT}
    whole = [{"module": module, "tests": owners[module]} | unchanged for module in chosen]
    seconds: dict[str, float] = {}
    for each in run(whole, workers=asked.workers, out=asked.out):
        if each["outcome"] != "lived":
            sys.exit(f"{each['module']}: the tests do not pass as it is: {each['told']}")
        seconds[each["module"]] = each["seconds"]
    jobs = [
        mutant | {"tests": owners[module], "limit": max(LIMIT, 3 * seconds[module])}
        for module in chosen
        for mutant in sample(module, each=asked.each, seed=asked.seed)
    ]
    done = run(jobs, workers=asked.workers, out=asked.out)
    account(done, equal=settings.get("equal", []))


def account(done: list[dict[str, Any]], *, equal: list[dict[str, str]]) -> None:
    sys.path.insert(0, str(ROOT))
    from eval.evidence.statistics import wilson

    known = {(each["module"], each["code"], each["what"]): each["because"] for each in equal}
    for each in done:
        if each["outcome"] == "lived" and (each["module"], each["code"], each["what"]) in known:
            each["outcome"] = "equal"
    total = Counter(each["outcome"] for each in done)
    caught = total["caught"] + total["timed out"]
    effective = caught + total["lived"]
    low, high = wilson(caught / effective, effective) if effective else (0.0, 1.0)
    print(dict(total))
    print(f"caught {caught} of {effective} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
