"""What a plan's progress says where there is no terminal."""

import made_runs as made

from study.launch.local import Event, Outcome
from study.launch.progress import describe, listener, summary


def test_plain_lines_say_what_begins_ends_and_warns(capsys):
    runs = made.tree()
    pretrain = next(run for run in runs if run.slug == "pretrain")
    with listener(runs) as listen:
        listen(Event(run=pretrain, what="start"))
        listen(Event(run=pretrain, what="report", report={"event": "step", "step": 1}))
        listen(Event(run=pretrain, what="report", report={"event": "warning", "message": "odd"}))
        listen(Event(run=pretrain, what="failed", message="it broke"))
    assert capsys.readouterr().out.splitlines() == [
        "start  pretrain",
        "       pretrain  odd",
        f"failed pretrain  [1/{len(runs)}]  0 s  it broke",
    ]


def test_a_report_is_told_in_a_few_words():
    pretrain = next(run for run in made.tree() if run.slug == "pretrain")
    report = {"event": "validation", "step": 4, "loss": 2.5, "tokens_per_second": 1234.0}
    steps = pretrain.training.steps
    told = describe(Event(run=pretrain, what="report", report=report))
    assert told == f"step 4/{steps}  validation loss 2.500  1.23 ktok/s"


def test_the_end_names_what_was_not_started():
    runs = made.tree()
    ended = Outcome(ends={runs[0].id: "done", runs[1].id: "failed"}, interrupted=True)
    assert summary(ended, runs) == (
        f"1 done, 1 failed, {len(runs) - 2} not started, "
        "interrupted: start the same command again to go on"
    )
