"""Whatever differs between two stages of one lineage and budget is in their names, and no more."""

from dataclasses import replace

import made_runs as made
import pytest

from study.language.values.objective import SpanCorruption
from study.runs.cells import Naming, planned_cells


def labels(*runs):
    naming = Naming(runs)
    return [naming.key(run, run.training.steps).label for run in runs]


def rate(run, learning_rate, **rest):
    optimizer = replace(run.training.optimizer, learning_rate=learning_rate)
    return replace(
        run,
        slug=f"{run.slug}-{learning_rate}",
        training=replace(run.training, optimizer=optimizer, **rest),
    )


def test_seeds_are_one_cell_and_need_no_name():
    run = made.pretrain()
    assert labels(run, replace(run, seed=2, slug="other")) == ["CD:FLM", "CD:FLM"]


def test_a_rate_is_named_where_it_is_not_what_most_have():
    run = made.pretrain()
    own = run.training.optimizer.learning_rate
    other = rate(run, own / 2)
    assert labels(run, replace(run, seed=2, slug="b"), other) == [
        "CD:FLM",
        "CD:FLM",
        f"CD:FLM (lr {own / 2:g})",
    ]
    assert labels(run) == labels(rate(run, own / 2)) == ["CD:FLM"]


def test_several_fields_stand_together_and_what_they_share_is_not_said():
    run = made.pretrain()
    one = rate(run, 0.02, z_loss=0.5)
    two = rate(run, 0.04, z_loss=0.5, clip_norm=2.0)
    three = replace(one, slug="b", seed=9)
    assert labels(one, three, two) == ["CD:FLM", "CD:FLM", "CD:FLM (lr 0.04, clip_norm 2)"]


def test_equal_tokens_in_other_batches_are_told_apart_by_the_batch():
    run = made.pretrain()
    steps, size = run.training.steps, run.training.batch_size
    training = replace(run.training, steps=steps // 2, batch_size=2 * size)
    other = replace(run, slug="b", training=training)
    assert (
        labels(run, replace(run, seed=5, slug="c"), other)[2] == f"CD:FLM (batch size {2 * size})"
    )


def test_unequal_budgets_need_no_name():
    run = made.pretrain()
    longer = rate(run, 0.5, steps=2 * run.training.steps)
    assert labels(run, longer) == ["CD:FLM", "CD:FLM"]


def test_checkpoints_of_a_longer_run_that_are_scored_at_an_equal_budget_are_told_apart():
    run = made.pretrain()
    longer = rate(run, 0.5, steps=2 * run.training.steps)
    runs = [run, replace(run, seed=5, slug="c"), made.evaluation(longer, step=run.training.steps)]
    naming = Naming(runs)
    assert naming.key(longer, run.training.steps).label == "CD:FLM (lr 0.5)"
    assert naming.key(run, run.training.steps).label == "CD:FLM"


def test_a_corpus_is_named_by_its_slug():
    run = made.pretrain()
    half = replace(run.corpus, slug="half", documents=replace(run.corpus.documents, held_out=0.5))
    assert labels(run, replace(run, seed=2, slug="b"), replace(run, slug="c", corpus=half))[2] == (
        "CD:FLM (corpus half)"
    )


def test_an_objective_s_noise_is_named_and_other_objectives_do_not_care():
    run = made.adapt(made.pretrain())
    assert isinstance(run.objective, SpanCorruption)
    noisier = replace(run, slug="b", objective=replace(run.objective, noise_density=0.3))
    again = replace(run, slug="c", seed=4)
    assert labels(run, again, noisier)[2].endswith("MLM (noise 0.3)")


def test_a_parent_s_difference_stands_in_its_child_s_lineage():
    parent = made.pretrain()
    runs = [made.adapt(each) for each in (parent, replace(parent, seed=3), rate(parent, 0.5))]
    naming = Naming([*(run.parent for run in runs), *runs])
    found = [naming.key(run, run.training.steps) for run in runs]
    assert [key.lineage[0] for key in found] == ["CD:FLM", "CD:FLM", "CD:FLM (lr 0.5)"]
    assert len({key.lineage[1] for key in found}) == 1
    assert len({key.note for key in found}) == 1


def test_a_model_s_name_stands_in_the_same_bracket():
    run = made.pretrain()
    ssd = replace(run.model, mixer="ssd", positions="none", d_state=4)
    other = replace(run, slug="b", model=ssd)
    assert labels(run, other, replace(other, slug="c", seed=2), rate(other, 0.5))[3] == (
        "CD:FLM (lr 0.5, ssd)"
    )


@pytest.mark.parametrize("field", ["seed", "slug"])
def test_names_do_not_depend_on_what_is_no_choice(field):
    run = made.pretrain()
    changed = replace(run, **{field: 7 if field == "seed" else "other"})
    assert labels(run, changed) == ["CD:FLM", "CD:FLM"]


def test_a_plan_says_its_cells_and_what_it_cannot_tell_apart():
    run = made.pretrain()
    runs = [run, replace(run, seed=2, slug="b"), rate(run, 0.5)]
    scored = [made.evaluation(each, slug=f"{each.slug}-scores") for each in runs]
    found = planned_cells([*runs, *scored])
    assert [(each.key.label, each.seeds, each.problem) for each in found] == [
        ("CD:FLM", 2, ""),
        ("CD:FLM (lr 0.5)", 1, ""),
    ]
    early = [replace(each, step=3) for each in scored[:1]]
    longer = replace(run, slug="longer", training=replace(run.training, steps=20))
    clash = [*early, made.evaluation(longer, slug="early", step=3)]
    (cell,) = planned_cells([run, longer, *clash])
    assert cell.problem == (
        f"duplicate cell: {scored[0].slug} and early differ and are not averaged"
    )
