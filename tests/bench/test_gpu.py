"""`make gpu` as far as a CPU can show: the same code on tiny problems, whose times mean nothing."""

from __future__ import annotations

import dataclasses
import json
import types
from functools import partial

import pytest
import torch
from torch import Tensor

from bench import attention, clock, contest, gpu, linear, parity
from bench.cards import CARDS, Card, card_of
from bench.contest import Problem, Result, Side
from bench.row import FEWEST
from kernels import full_size
from kernels.visibility import Visibility

CPU = torch.device("cpu")
LENGTH = 48
OPS = ("attention", "ssd", "longconv")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    for name, value in {"HEADS": 2, "D_HEAD": 16, "STATE": 8, "WIDTH": 32, "TOKENS": 96}.items():
        monkeypatch.setattr(full_size, name, value)


def tiny(op: str, pattern: full_size.Pattern) -> Problem:
    (found,) = (
        each
        for each in gpu.problems([op], [LENGTH], torch.float32, CPU)
        if each.pattern in (pattern, "any")
    )
    return found


def rows_of(problem: Problem, card: Card | None = None) -> dict[tuple[str, str], Result]:
    found = contest.contest(problem, card=card, device=CPU, rounds=FEWEST)
    return {(row["side"], row["direction"]): row for row in found}


@pytest.mark.parametrize("pattern", full_size.PATTERNS)
def test_documents_fill_their_rows(pattern: full_size.Pattern):
    for length in (1, 48, 1000):
        for row in full_size.documents(pattern, rows=3, length=length):
            assert sum(size for size, _ in row) == length
    several = full_size.documents(pattern, rows=2, length=1000)
    assert (len(several[0]) > 2) == pattern.startswith("packed")
    assert any(prefix > 1 for _, prefix in several[0]) == pattern.endswith("prefix")
    assert several == full_size.documents(pattern, rows=2, length=1000)


@pytest.mark.parametrize("pattern", full_size.PATTERNS)
def test_torchs_attention_computes_what_ours_does(pattern: full_size.Pattern):
    found = rows_of(tiny("attention", pattern))
    back = "forward and backward"
    dense = found["SDPA, dense mask", back]
    assert dense["note"] == ""
    assert dense["ms"] is not None
    flash = found["SDPA, causal flash", back]
    assert flash["note"] == ("" if pattern == "causal" else "no such form")
    assert found["ours", "forward"]["times_ours"] == 1.0


def test_flex_attention_is_asked_for_the_same_intervals():
    """Its backward does not exist on a CPU, so its forward is looked at here."""
    given = tiny("attention", "packed_prefix")
    for side in given.peers:
        if side.name.startswith("FlexAttention,"):
            leaves = [each.detach() for each in side.leaves]
            found, wanted = (each.run(*leaves) for each in (side, given.ours))
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert sum(side.name.startswith("FlexAttention") for side in given.peers) == 3


def test_a_side_that_computes_something_else_gets_no_time(monkeypatch):
    monkeypatch.setattr(
        attention,
        "_dense",
        lambda leaves, seen, scale, dense=attention._dense: dense(leaves, off_by_one(seen), scale),
    )
    row = rows_of(tiny("attention", "prefix"))["SDPA, dense mask", "forward"]
    assert row["note"].startswith("differs: output by")
    assert row["ms"] is None


def test_a_side_that_gives_no_number_gets_no_time():
    given = tiny("attention", "causal")
    peer = Side(name="nan", leaves=given.ours.leaves, run=lambda *leaves: sum(leaves) * torch.nan)
    row = rows_of(dataclasses.replace(given, peers=(peer,)))["nan", "forward"]
    assert row["note"] == "differs: output by nan of its largest number"
    assert row["ms"] is None


def test_a_peer_that_fails_says_so_and_ours_may_not():
    def broken(*_: Tensor) -> Tensor:
        raise RuntimeError("no kernel image\nfor this card")

    given = tiny("attention", "causal")
    peer = Side(name="broken", leaves=given.ours.leaves, run=broken)
    row = rows_of(dataclasses.replace(given, peers=(peer,)))["broken", "forward"]
    assert row["note"] == "fails: RuntimeError: no kernel image"
    with pytest.raises(RuntimeError, match="no kernel image"):
        rows_of(dataclasses.replace(given, ours=dataclasses.replace(peer, name="ours")))


def mamba_by_steps(x, dt, A, B, C, chunk_size, D=None, seq_idx=None) -> Tensor:
    """`mamba_chunk_scan_combined` by the recurrence of Dao and Gu 2024, one step after the other:
    x (b, l, h, p), dt (b, l, h), A (h), B and C (b, l, g, n), seq_idx (b, l).
    """
    state, out = torch.zeros(*x.shape[:1], *x.shape[2:], B.shape[-1]), []
    for t in range(x.shape[1]):
        if seq_idx is not None and t:
            same = seq_idx[:, t] == seq_idx[:, t - 1]
            state = state * same[:, None, None, None]
        decay = (dt[:, t] * A).exp()[..., None, None]
        state = decay * state + torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], B[:, t, 0])
        out.append(torch.einsum("bhpn,bn->bhp", state, C[:, t, 0]))
    return torch.stack(out, 1)


def gated_by_steps(q, k, v, g, scale=None, cu_seqlens=None) -> tuple[Tensor, None]:
    """`chunk_simple_gla` by its recurrence: q, k (B, T, H, K), v (B, T, H, V), g (B, T, H) in log
    space; with cu_seqlens one row that holds all documents.
    """
    starts = set() if cu_seqlens is None else set(cu_seqlens.tolist())
    assert cu_seqlens is None or (len(q) == 1 and max(starts) == q.shape[1])
    state, out = torch.zeros(len(q), q.shape[2], q.shape[3], v.shape[3]), []
    for t in range(q.shape[1]):
        state = state * 0 if t in starts else state * g[:, t].exp()[..., None, None]
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        out.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(out, 1), None


class CircularConvolution(torch.nn.Module):
    """`FlashFFTConv`: iFFT(FFT(u) FFT(k)) of its size, of u (B, H, L) and k (H, L) float32."""

    def __init__(self, size: int, dtype: torch.dtype):
        super().__init__()
        self.size = size

    def forward(self, u: Tensor, k: Tensor) -> Tensor:
        assert k.dtype == torch.float32
        assert self.size % 2 == u.shape[-1] % 2 == 0
        mixed = torch.fft.fft(u.float(), n=self.size) * torch.fft.fft(k, n=self.size)
        return torch.fft.ifft(mixed).real[..., : u.shape[-1]].to(u.dtype)


PEERS = {
    "mamba_ssm": ("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined", mamba_by_steps),
    "flash-linear-attention": ("fla.ops.simple_gla", "chunk_simple_gla", gated_by_steps),
    "FlashFFTConv": ("flashfftconv", "FlashFFTConv", CircularConvolution),
}


@pytest.mark.parametrize("pattern", full_size.PATTERNS)
@pytest.mark.parametrize("name", PEERS)
def test_peers_are_called_as_they_are_documented(name: str, pattern, monkeypatch):
    """They need a GPU, so what stands in for them here is their documentation in torch."""
    module, function, stand_in = PEERS[name]
    op = "longconv" if name == "FlashFFTConv" else "ssd"
    monkeypatch.setattr(linear, "import_module", missing)
    assert rows_of(tiny(op, pattern))[name, "forward"]["note"] == "not installed"
    published = types.SimpleNamespace(**{function: stand_in})
    monkeypatch.setattr(linear, "import_module", {module: published}.get)
    if name == "FlashFFTConv":
        # It has no float32, and ours in 16 bits rounds as it does.
        (given,) = (
            each
            for each in gpu.problems([op], [LENGTH], torch.bfloat16, CPU)
            if each.pattern == pattern
        )
    else:
        monkeypatch.setattr(linear, "import_module", lambda path: modules(path, module, published))
        given = tiny(op, pattern)
    row = rows_of(given)[name, "forward and backward"]
    has_form = pattern == "causal" or (pattern == "packed" and op == "ssd")
    assert row["note"] == ("" if has_form else "no such form")
    assert (row["ms"] is not None) == has_form


def missing(path: str) -> types.ModuleType:
    raise ModuleNotFoundError(path)


def modules(path: str, module: str, published):
    return published if path == module else missing(path)


@pytest.mark.parametrize("pattern", full_size.PATTERNS)
@pytest.mark.parametrize("op", OPS)
def test_what_is_timed_computes_its_equation(op: str, pattern: full_size.Pattern):
    found = parity.distances(op, pattern, rows=2, length=LENGTH, dtype=torch.float32, device=CPU)
    assert all(each <= parity.NEAR[torch.float32] for each in found.values()), found


def test_block_diagonal_product_computes_its_equation():
    found = parity.block_diagonal(tokens=7, dtype=torch.float32, device=CPU)
    assert all(each <= parity.NEAR[torch.float32] for each in found.values()), found


def off_by_one(seen: Visibility) -> Visibility:
    return Visibility(seen.start, (seen.end - 1).maximum(seen.start), seen.num_keys)


@pytest.mark.parametrize("length", [LENGTH, 600])
def test_an_interval_that_is_off_by_one_is_red(length: int, monkeypatch):
    """In the coarsest dtype too, and where only some queries are compared."""
    right = attention.attention
    monkeypatch.setattr(
        attention,
        "attention",
        lambda q, k, v, seen, **given: right(q, k, v, off_by_one(seen), **given),
    )
    found = parity.distances(
        "attention", "packed", rows=2, length=length, dtype=torch.float32, device=CPU
    )
    assert all(each > 2 * parity.NEAR[torch.bfloat16] for each in found.values()), found


def test_long_rows_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr(parity, "LARGEST", 16)
    monkeypatch.setattr(parity, "QUERIES", 16)
    for op in OPS:
        found = parity.distances(
            op, "packed_prefix", rows=2, length=LENGTH, dtype=torch.float32, device=CPU
        )
        assert all(each <= parity.NEAR[torch.float32] for each in found.values()), found


def test_no_gpu_is_said_and_nothing_is_run(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([], green=lambda: pytest.fail("parity without a GPU")) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("No GPU")


def test_no_speed_is_printed_when_parity_is_red(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "measure", lambda *_, **__: pytest.fail("timed"))
    assert gpu.main(["--out", str(tmp_path)], green=lambda: False) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Parity is red: no speed is measured.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("test", "green"), [("pass", True), ("assert False", False), ("", False)])
def test_parity_is_what_pytest_says(test: str, green: bool, monkeypatch, tmp_path):
    """Tests that are marked `gpu` are run, and a run that finds no test is not green."""
    body = f"import pytest\n@pytest.mark.gpu\ndef test_it():\n    {test}\n" if test else ""
    (tmp_path / "test_it.py").write_text(body)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    monkeypatch.setattr(
        gpu, "TESTS", (f"--rootdir={tmp_path}", f"-c{tmp_path}/pytest.ini", str(tmp_path))
    )
    assert gpu.parity() == green


def test_the_table_is_printed_and_written(capsys, tmp_path):
    given = [tiny("blockdiag", "causal"), tiny("ssd", "prefix")]
    gpu.measure(given, CPU, rounds=FEWEST, out=tmp_path)
    shown = capsys.readouterr().out
    kept = json.loads((tmp_path / "table.json").read_text())
    assert kept["about"]["device"] == "CPU (not a measurement)"
    sides = [(row["op"], row["side"], row["direction"]) for row in kept["rows"]]
    assert ("blockdiag", "torch.bmm", "forward and backward") in sides
    assert ("ssd", "mamba_ssm", "forward") in sides
    for text in (shown, (tmp_path / "table.md").read_text()):
        assert "device: CPU (not a measurement)" in text
        assert text.count("\n| blockdiag | any |") == 4
        assert "unknown" in text


def test_figures_follow_from_time_and_work(monkeypatch):
    given = dataclasses.replace(tiny("blockdiag", "causal"), peers=())
    work = given.work["forward"]
    assert (work.flops, work.moved) == (2 * 96 * 32 * 8, 4 * (2 * 96 * 32 + 4 * 8 * 8))
    still = (4e-6, 2e-6, 1e-6, 2e-6, 3e-6)
    monkeypatch.setattr(contest, "take_turns", lambda sides, **_: dict.fromkeys(sides, still))
    card = Card(half=1e15, single=work.flops * 1e6, bandwidth=work.moved * 2e6)
    row = rows_of(given, card)["ours", "forward"]
    assert row["tflops"] == pytest.approx(work.flops / 2e-6 / 1e12)
    assert row["gbytes"] == pytest.approx(work.moved / 2e-6 / 1e9)
    # A microsecond for the FLOPs, half of one for the bytes: half of what was taken.
    assert row["roofline"] == pytest.approx(0.5)
    assert "| 0.002 (0.001 to 0.004) |" in gpu.TABLE.line(row)


def test_the_work_of_attention_is_what_is_seen():
    given = tiny("attention", "prefix")
    pairs = sum(max(i + 1, 24) for i in range(48)) * 2
    assert given.work["forward"].flops == 4 * 16 * 2 * pairs
    assert given.work["forward and backward"].flops == 3.5 * 4 * 16 * 2 * pairs


def test_a_card_limits_by_what_takes_longer():
    card = CARDS["NVIDIA H100 80GB HBM3"]
    assert card.seconds(flops=989e12, moved=1.0, dtype=torch.bfloat16) == 1.0
    assert card.seconds(flops=67e12, moved=1.0, dtype=torch.float32) == 1.0
    assert card.seconds(flops=1.0, moved=3.35e12, dtype=torch.bfloat16) == 1.0
    assert card_of(CPU) == ("CPU", None)


def test_sides_take_turns_and_the_first_calls_do_not_count():
    calls: list[str] = []
    sides = {name: partial(clock.seconds_on, CPU, partial(calls.append, name)) for name in "abc"}
    found = clock.take_turns(sides, rounds=3)
    assert calls == ["a", "b", "c"] * 2 + ["c", "b", "a"] + ["a", "b", "c"]
    assert [len(found[name]) for name in "abc"] == [3] * 3
    assert all(value > 0 for values in found.values() for value in values)


def test_fewer_than_five_rounds_are_refused(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--rounds", "4"])
    assert "legal: 5 or more" in capsys.readouterr().err


def test_every_length_and_pattern_is_asked_for():
    asked = [
        (each.op, each.length, each.pattern)
        for each in gpu.problems(["ssd"], [16, 32], torch.float32, CPU)
    ]
    assert asked == [("ssd", length, each) for length in (16, 32) for each in full_size.PATTERNS]
    assert full_size.LENGTHS[0] == 512
    assert full_size.LENGTHS[-1] == 32768
