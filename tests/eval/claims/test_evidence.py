"""Views and parts of suites: planted effects found, and said where nothing can be computed."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from made_panels import panel_of_tasks, task_scores, with_column

from eval.claims.claim import Claim
from eval.claims.decided import Block, Evidence, sign_differs
from eval.claims.verdicts import decide, decision
from eval.evidence import equal_flops
from eval.evidence.contrast import ALPHA, Contrast, Estimate
from eval.evidence.equal_flops import AtEqualFlops, Spent
from study.language.cells import key_of
from study.language.recipes.presets import world_suite_task

FAMILIES = ("effect", "cause", "similar", "ending", "referent", "last_word")


def key(name, tokens=100):
    return key_of((name,), tokens=tokens)


def panel_of(shares, keys, *, suite="s", prompts=1, items=400, tasks=FAMILIES[:2], seed=0):
    """shares: (tasks, C) or (C,) true accuracies; three seeds with a little luck each."""
    rng = np.random.default_rng(seed)
    shares = np.broadcast_to(shares, (len(tasks), len(keys)))
    made = []
    for name, own in zip(tasks, shares, strict=True):
        true = own[:, None, None, None] + 0.003 * rng.normal(size=(len(keys), 3, prompts, 1))
        # one difficulty an item for every cell, as real items have
        correct = (rng.random((1, 1, 1, items)) < true).astype(float)
        made.append(
            task_scores(
                replace(
                    world_suite_task("effect", rows=2, seed=1, chance=0.5, role="headline"),
                    name=name,
                ),
                correct,
                correct_other_end=correct,
                gold_nats_per_byte=correct,
            )
        )
    return panel_of_tasks(made, keys, suite=suite)


def contrast(high="a", low="b", **changes):
    fields = {
        "name": "c",
        "suite": "s",
        "weights": (((high,), 1.0), ((low,), -1.0)),
        "kind": "greater",
        "margin": 0.02,
    }
    return Contrast(**(fields | changes))


def spent(panel, *, dear=("b",), times=2.0):
    """FLOPs in proportion to tokens, `times` as many for the dear cells."""
    return {
        key: Spent(
            flops=int(key.tokens * 1000 * (times if key.lineage[0] in dear else 1)),
            parameters=200 if key.lineage[0] in dear else 100,
            loss_tokens=key.tokens,
        )
        for key in panel.cells
    }


def at_flops(panel, asked, **options):
    taken = {panel.suite: spent(panel, **options)}
    return AtEqualFlops({panel.suite: panel}, spent=taken, decided=1)(asked)


BUDGETS = [key("a", 100), key("a", 200), key("b", 100), key("b", 200), key("c", 200)]


def test_cells_are_read_between_their_budgets():
    """b's tokens cost twice as much: a at 200 tokens has the FLOPs of b at 100."""
    panel = panel_of([0.6, 0.8, 0.7, 0.75, 0.9], BUDGETS)
    scores = panel.scores().mean(axis=1)
    found = at_flops(panel, contrast())
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(scores[1] - scores[2])
    assert found.note == "at 2e+05 training FLOPs before finetuning"
    # 1.5 times as dear: the FLOPs of a at 200 tokens lie between b's budgets
    between = at_flops(panel, contrast(), times=1.5)
    share = math.log(200 / 150) / math.log(2)
    read = (1 - share) * scores[2] + share * scores[3]
    assert between.value == pytest.approx(scores[1] - read)


def test_one_budget_has_no_view_and_equal_flops_need_none():
    panel = panel_of([0.6, 0.8, 0.7, 0.75, 0.9], BUDGETS)
    assert at_flops(panel, contrast("c", "b"), dear=("c",)) == (
        "cannot be read at equal FLOPs: c at one budget only"
    )
    scores = panel.scores().mean(axis=1)
    found = at_flops(panel, contrast("a", "c"), dear=())
    assert found.value == pytest.approx(scores[1] - scores[4])
    assert at_flops(panel, contrast("a", "d")) == "missing d"


def test_the_smaller_budget_is_matched_upwards_where_nothing_lies_below():
    panel = panel_of([0.6, 0.8, 0.7, 0.75, 0.9], BUDGETS)
    scores = panel.scores().mean(axis=1)
    found = at_flops(panel, contrast(budget=0), times=1.5)
    share = math.log(1.5) / math.log(2)
    read = (1 - share) * scores[0] + share * scores[1]
    assert found.value == pytest.approx(read - scores[2])


def test_a_contrast_may_itself_be_at_equal_flops():
    panel = panel_of([0.6, 0.8, 0.7, 0.75, 0.9], BUDGETS)
    evidence = Evidence(panels={"s": panel}, spent={"s": spent(panel)})
    asked = contrast(matching="flops")
    assert evidence(asked) == at_flops(panel, asked)
    assert evidence(asked).value != pytest.approx(evidence(contrast()).value)


def test_what_the_view_does_not_match_is_labelled():
    panel = panel_of([0.6, 0.8, 0.7, 0.75, 0.9], BUDGETS)
    evidence = Evidence(panels={"s": panel}, spent={"s": spent(panel)})
    assert evidence(contrast()).note == "FLOPs x0.50, parameters x0.50, loss tokens x1.00"
    unknown = {each: replace(taken, loss_tokens=None) for each, taken in spent(panel).items()}
    found = equal_flops.ratios(contrast(), panel, unknown)
    assert found.description.endswith("loss tokens unknown")


def verdicts(evidence, *contrasts):
    claim = Claim(id="X", text="t", kind="greater", components=contrasts or (contrast(),))
    return decide([claim], evidence)


def block(evidence, *contrasts):
    return Block(
        name="m",
        verdicts=verdicts(evidence, *contrasts),
        other_option=verdicts(replace(evidence, option="other"), *contrasts),
        equal_flops=verdicts(replace(evidence, view="flops"), *contrasts),
        spread="",
    )


def test_a_sign_that_the_view_turns_reads_view_dependent():
    """b beats a at equal tokens, and a beats b at equal FLOPs."""
    keys = [*BUDGETS[:4], key("c", 100), key("c", 200), key("d", 100), key("d", 200)]
    panel = panel_of([0.5, 0.75, 0.65, 0.85, 0.5, 0.6, 0.5, 0.6], keys, items=800)
    evidence = Evidence(panels={"s": panel}, spent={"s": spent(panel)})
    asked = contrast("b", "a")
    made = block(evidence, asked)
    (found,) = made.verdicts
    final = made.resolved(found)
    assert found.verdict == "replicated"
    assert final.verdict == "view-dependent"
    assert "replicated at equal tokens, contradicted at equal FLOPs" in final.qualifier
    # with equal costs there is nothing to turn
    same = replace(evidence, spent={"s": spent(panel, dear=())})
    assert block(same, asked).resolved(found).verdict == "replicated"


def test_without_a_second_budget_the_view_says_so():
    panel = panel_of([0.9, 0.5, 0.6, 0.7], [key(name) for name in "abcd"], items=800)
    made = block(Evidence(panels={"s": panel}, spent={"s": spent(panel)}))
    (found,) = made.verdicts
    final = made.resolved(found)
    assert final.verdict == "replicated"
    assert final.equal_flops.startswith("cannot be read at equal FLOPs: a and b at one budget")


def test_a_verdict_that_the_end_of_sequence_turns_reads_scorer_dependent():
    panel = panel_of([0.9, 0.5, 0.6, 0.7], [key(name) for name in "abcd"], items=800)
    turned = replace(
        panel,
        tasks=tuple(with_column(each, correct_other_end=1 - each.answers) for each in panel.tasks),
    )
    made = block(Evidence(panels={"s": turned}, spent={"s": spent(turned)}))
    final = made.resolved(made.verdicts[0])
    assert final.verdict == "scorer-dependent"
    assert final.qualifier == "replicated as scored, contradicted the other way round"


def test_noise_on_the_other_side_of_zero_is_no_turn():
    undecided = [
        Estimate(
            value=value,
            standard_error=0.05,
            degrees=10,
            seeds=3,
            basis="seeds and items",
        )
        for value in (0.01, -0.01)
    ]
    (tokens,), (flops,) = (verdicts(lambda _, one=one: one) for one in undecided)
    assert tokens.verdict == flops.verdict == "underpowered"
    assert sign_differs(tokens, flops) == ""


def prompts_of(shares):
    """(EAI-like panel of one prompt, T0-like panel of three over two of its four tasks)."""
    keys = [key(name) for name in "abcd"]
    one = panel_of(shares, keys, suite="eai", tasks=(*FAMILIES[:3], "lambada"), items=800)
    many = panel_of(
        [0.6] * 4, keys, suite="t0", prompts=3, tasks=(*FAMILIES[:2], "ending"), items=800, seed=1
    )
    return {"eai": one, "t0": many}


def prompts(cell="a"):
    return contrast(suite="eai", against="t0", weights=(((cell,), 1.0),), name=f"{cell}: prompts")


def test_one_prompt_against_the_mean_of_another_suite_s():
    panels = prompts_of([0.7, 0.6, 0.5, 0.6])
    evidence = Evidence(panels=panels)
    found = {cell: evidence(prompts(cell)) for cell in "abc"}
    by_hand = np.mean(
        [
            panels["eai"].tasks[at].scores()[0].mean()
            - panels["t0"].tasks[at].by_condition()[0].mean()
            for at in range(2)
        ]
    )
    assert found["a"].value == pytest.approx(by_hand)
    assert found["a"].value == pytest.approx(0.1, abs=0.04)
    assert found["a"].basis == "seeds and items"
    assert decision(prompts("a"), found["a"], ALPHA) == "replicated"
    assert decision(prompts("c"), found["c"], ALPHA) == "contradicted"
    # a difference near zero says nothing of chance
    assert not found["b"].floor


def test_equal_rows_are_resampled_together():
    """The same answers in both suites differ by nothing in any resample."""
    keys = [key(name) for name in "abcd"]
    panel = panel_of([0.7, 0.6, 0.5, 0.6], keys, suite="eai")
    found = Evidence(panels={"eai": panel, "t0": replace(panel, suite="t0")})(prompts())
    assert found.value == 0.0
    apart = panel_of([0.7, 0.6, 0.5, 0.6], keys, suite="t0", seed=5)
    assert Evidence(panels={"eai": panel, "t0": apart})(prompts()).item_variance > 1e-5


def test_the_edge_on_tasks_that_the_other_suite_lacks_without_lambada():
    """The whole edge is LAMBADA: without it the cells are equal on what is left."""
    shares = np.full((4, 4), 0.6)
    shares[3, 0] = 0.9
    panels = prompts_of(shares)
    evidence = Evidence(panels=panels)
    edge = contrast(suite="eai", outside="t0", margin=0.05, kind="equivalent")
    with_lambada = evidence(edge)
    without = evidence(replace(edge, without=("lambada",)))
    assert with_lambada.value == pytest.approx(0.15, abs=0.03)
    assert without.value == pytest.approx(0.0, abs=0.03)
    left = panels["eai"].tasks[2].scores().mean(axis=1)
    assert without.value == pytest.approx(left[0] - left[1])
    assert decision(edge, without, ALPHA) == "replicated"
    assert decision(edge, with_lambada, ALPHA) == "contradicted"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"against": "s"}, "two prompt sets are compared; s is one"),
        ({"outside": "s"}, "no task of s is left"),
        ({"against": "t0"}, "no scores on t0"),
        ({"without": FAMILIES}, "no task of s is left"),
    ],
)
def test_why_there_is_no_estimate(changes, told):
    panel = panel_of([0.7, 0.6], [key("a"), key("b")])
    asked = contrast(weights=((("a",), 1.0),), **changes)
    assert Evidence(panels={"s": panel})(asked) == told


def pairs(*values, kind="positive"):
    """Contrasts of adjacent cells with planted differences."""
    keys = [key(name) for name in "abcdef"[: len(values) + 1]]
    shares = 0.9 - np.concatenate([[0.0], np.cumsum(values)])
    panel = panel_of(shares, keys, items=800)
    asked = [
        contrast(high.lineage[0], low.lineage[0], kind=kind, name=f"{high.label} > {low.label}")
        for high, low in pairwise(keys)
    ]
    claim = Claim(id="O", text="t", kind="order", components=tuple(asked))
    (found,) = decide([claim], Evidence(panels={"s": panel}))
    return found


def test_an_order_needs_every_adjacent_pair_and_one_reversed_pair_contradicts_it():
    assert pairs(0.1, 0.1, 0.1).verdict == "replicated"
    assert pairs(0.1, 0.0, 0.1).verdict == "underpowered"
    turned = pairs(0.1, -0.1, 0.1)
    assert (turned.verdict, turned.qualifier) == ("contradicted", "reversed")


@pytest.mark.parametrize(
    ("ed", "nd", "cd", "expected"),
    [
        (0.1, 0.1, 0.1, "replicated"),
        (0.1, 0.0, 0.1, "underpowered"),
        (0.1, 0.1, -0.1, "contradicted"),
    ],
)
def test_an_interaction_needs_each_sign(ed, nd, cd, expected):
    """C7: MLM - LM is positive in ED and ND and negative in CD, which is LM - MLM positive."""
    names = ("ED:MLM", "ED:PLM", "ND:MLM", "ND:PLM", "CD:FLM", "CD:MLM")
    shares = [0.7 + ed, 0.7, 0.7 + nd, 0.7, 0.7 + cd, 0.7]
    panel = panel_of(shares, [key(name) for name in names], items=800)
    asked = [contrast(*names[at : at + 2], kind="positive", name=names[at]) for at in (0, 2, 4)]
    claim = Claim(id="C7", text="t", kind="interaction", components=tuple(asked))
    (found,) = decide([claim], Evidence(panels={"s": panel}))
    assert found.verdict == expected


def test_an_order_at_each_budget_is_turned_at_one():
    keys = [key(name, tokens) for tokens in (100, 200) for name in "abc"]
    asked = [
        contrast(high, low, kind="positive", budget=at, budgets=2, name=f"{high}{low}{at}")
        for at in (-2, -1)
        for high, low in ("ab", "bc")
    ]
    claim = Claim(id="C10", text="t", kind="order", components=tuple(asked))

    def verdict(shares):
        panel = panel_of(shares, keys, items=800)
        (found,) = decide([claim], Evidence(panels={"s": panel}))
        return found.verdict

    assert verdict([0.8, 0.7, 0.6, 0.9, 0.8, 0.7]) == "replicated"
    assert verdict([0.8, 0.7, 0.6, 0.7, 0.9, 0.6]) == "contradicted"
    one = panel_of([0.8, 0.7, 0.6], keys[3:])
    (found,) = decide([claim], Evidence(panels={"s": one}))
    assert found.reason == "needs 2 token budgets; there is 1"
