"""The table of `make bench`: goals, turns, refusals, and what is written where."""

import json

import pytest

from bench import __main__ as command
from bench import document, same
from bench.cards import CARDS
from bench.row import Bench, Figure, Finding, Goal, Row
from bench.rows import kernels, on_gpu
from bench.same import Differs
from bench.table_rows import ROWS
from study.language.values.model import Model

FIVE = (1.0, 5.0, 2.0, 3.0, 4.0)


def figure(*values, unit="x"):
    return Figure(values=values or FIVE, unit=unit)


def row(**changes):
    known = {
        "name": "a-row", "what": "a thing", "peer": "another", "floor": "the machine",
        "goal": Goal(sense="at least", value=2.0),
        "measure": lambda bench: Finding(figure=figure()),
    }  # fmt: skip
    return Row(**known | changes)


def given(folder):
    return Bench(folder=folder, shared=folder, rounds=5, threads=1)


def result(finding):
    return document.as_json(finding) | {"peak_mib": 12.0, "about": {"on": "2026-01-01"}}


def test_a_figure_has_five_rounds_at_least():
    with pytest.raises(ValueError, match="4 rounds; legal: 5 or more"):
        figure(1.0, 2.0, 3.0, 4.0)
    assert (figure().least, figure().median, figure().largest) == (1.0, 3.0, 5.0)


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [("at least", 3.0, True), ("at least", 3.1, False), ("at most", 3.0, True),
     ("at most", 2.9, False)],
)  # fmt: skip
def test_a_goal_is_met_by_the_median(sense, value, met):
    assert Goal(sense=sense, value=value).met(figure()) is met


def test_sides_take_turns_and_the_first_does_not_count(tmp_path):
    calls = []

    def side(name, values):
        left = iter(values)

        def once():
            calls.append(name)
            return next(left)

        return once

    ours = side("ours", [99.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    peer = side("peer", [99.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    found = given(tmp_path).beside(ours, peer, unit="s")
    assert calls[:2] == ["ours", "peer"]
    assert calls[2:] == ["ours", "peer", "peer", "ours"] * 2 + ["ours", "peer"]
    assert found.figure == figure(2.0, 2.0, 3.0, 4.0, 5.0)
    assert found.ours == figure(2.0, 4.0, 6.0, 8.0, 10.0, unit="s")
    assert found.peer == figure(1.0, 2.0, 2.0, 2.0, 2.0, unit="s")


def test_unequal_sides_are_refused():
    assert "1,000" in same.parameters(1000, 1049)
    with pytest.raises(Differs, match="1,000 parameters against the peer's 1,060"):
        same.parameters(1000, 1060)
    with pytest.raises(Differs, match="tokens: 1 against the peer's 2"):
        same.equal("tokens", 1, 2)
    same.answers([1.0, 2.0], [1.0, 2.0005], within=1e-3)
    for other in ([1.0, 2.002], [1.0], [1.0, float("nan")]):
        with pytest.raises(Differs):
            same.answers([1.0, 2.0], other, within=1e-3)
    assert same.outputs(1e-6, within=1e-5) == "outputs, at most 1e-06 apart"
    for apart in (2e-5, float("nan")):
        with pytest.raises(Differs, match=r"outputs differ by .*; legal: 1e-05"):
            same.outputs(apart, within=1e-5)


def test_the_table_says_what_was_missed_refused_and_not_measured():
    rows = [
        row(),
        row(name="missed", goal=Goal(sense="at least", value=4.0), missed="of the bus"),
        row(name="refused"),
        row(name="later"),
        row(name="card", measure=None, gpu=True, command="make gpu"),
    ]
    results = {
        "a-row": result(Finding(figure=figure(), same=("five tokens: 5",))),
        "missed": result(Finding(figure=figure())),
        "refused": {"error": "they differ", "about": {"on": "2026-01-01"}},
    }
    text = document.markdown(rows, results)
    lines = {name: next(x for x in text.splitlines() if f"`{name}`" in x) for name in
             ("a-row", "missed", "refused", "later", "card")}  # fmt: skip
    assert "3 (1 to 5)" in lines["a-row"]
    assert lines["a-row"].endswith("12 MiB | yes |")
    assert "**no**" in lines["missed"]
    assert "Missed: of the bus." in text
    assert "refused: they differ" in lines["refused"]
    assert "3 (1 to 5)" not in lines["refused"]
    assert "unmeasured: `make bench ROWS=later`" in lines["later"]
    assert "unmeasured: `make gpu` on a GPU" in lines["card"]
    assert text.count("Equal on both sides: five tokens: 5.") == 1


def test_results_survive_a_second_call(tmp_path):
    found = {"a-row": result(Finding(figure=figure(), ours=figure(unit="s"), notes=("so",)))}
    document.write(tmp_path, [row()], found)
    again = document.read(tmp_path)
    assert again == json.loads(json.dumps(found))
    assert document.from_json(again["a-row"]).ours == figure(unit="s")
    assert document.read(tmp_path / "nowhere") == {}


def test_names_are_unique_and_every_row_has_a_floor():
    assert len({each.name for each in ROWS}) == len(ROWS)
    for each in ROWS:
        assert each.floor
        assert each.measure is not None or each.command


@pytest.mark.parametrize("asked", [["no-such-row"], ["--rounds", "4"]])
def test_bad_arguments_name_what_is_legal(asked, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(asked)
    assert ended.value.code == 2
    assert "legal: " in capsys.readouterr().err


def test_a_row_without_a_gpu_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(Differs, match="no GPU"):
        command.measure(row(gpu=True), shared=tmp_path, rounds=5, threads=1)


def test_packed_attention_is_compared_with_equal_outputs(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels, "TOKENS", 256)
    monkeypatch.setattr(kernels, "DOCUMENT", 64)
    found = kernels.packed_attention(given(tmp_path))
    assert found.goal == Goal(sense="at most", value=pytest.approx(1.2 * 65 / 512))
    assert len(found.figure.values) == 5


def test_utilisation_of_an_unknown_card_is_refused_and_of_a_known_one_is_a_share(
    monkeypatch, tmp_path
):
    bench = given(tmp_path)
    with pytest.raises(Differs, match="the peak of 'CPU' is not known"):
        on_gpu.utilisation(bench, architecture="causal_decoder", device="cpu")
    monkeypatch.setattr(on_gpu, "card_of", lambda device: ("made", CARDS["NVIDIA H200"]))
    monkeypatch.setattr(on_gpu, "ROWS", 2)
    monkeypatch.setattr("torch.compile", lambda given: given)
    small = Model(
        architecture="causal_decoder", mixer="attention", positions="rope", layers=1, d_model=16,
        heads=2, d_head=8, d_ff=32, vocab_size=50, tied=True,
    )  # fmt: skip
    found = on_gpu.utilisation(bench, architecture="causal_decoder", device="cpu", model=small)
    assert all(0 < each < 1e-2 for each in found.figure.values)
