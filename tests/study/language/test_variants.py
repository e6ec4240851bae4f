"""Models of equal width and depth are told apart by what differs, and by nothing else."""

from dataclasses import replace

import made_runs as made

from study.language.cells import shape, variants

SSD = {"mixer": "ssd", "positions": "none", "d_state": 4}


def pretrain(**fields):
    return replace(made.pretrain(), model=replace(made.MODEL, **fields))


def names(*runs):
    found = variants(runs)
    return [found[shape(run.model)] for run in runs]


def test_attention_alone_has_no_name_in_any_architecture_or_width():
    assert names(
        pretrain(),
        pretrain(architecture="prefix_decoder"),
        pretrain(d_model=24),
        pretrain(layers=2),
    ) == ["", "", "", ""]


def test_a_mixer_is_named_and_then_what_differs_within_it():
    assert names(pretrain(), pretrain(**SSD)) == ["", "ssd"]
    assert names(pretrain(), pretrain(**SSD), pretrain(**SSD, d_ff=40)) == [
        "",
        "ssd, d_ff 32",
        "ssd, d_ff 40",
    ]


def test_two_attention_models_of_one_width_are_told_apart():
    assert names(pretrain(), pretrain(d_ff=40)) == ["d_ff 32", "d_ff 40"]


def test_children_count_as_their_parents_shape():
    run = pretrain()
    child = made.adapt(run)
    assert variants([run, child, made.evaluation(child)]) == {shape(run.model): ""}
