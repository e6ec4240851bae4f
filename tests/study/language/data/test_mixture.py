import datetime
import hashlib
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.language.data import corpus as corpora
from study.language.data import mixture, tokenizer
from study.language.data.examples import ExampleShards
from study.language.data.mixture import template_rows
from study.language.prompts import templates as prompts
from study.language.values.corpus import Corpus, Mixture, PromptedTask, TrainedBPE
from study.runs.source import Part, Source
from study.sources import content
from study.sources.content import Access

TEMPLATES = """
dataset: films
templates:
  one: !Template
    answer_choices: bad ||| good
    id: one
    jinja: '{{text}} Good or bad? ||| {{ answer_choices[label] }}'
    metadata: !TemplateMetadata {original_task: true}
    name: ranked
    reference: ''
  two: !Template
    answer_choices: null
    id: two
    jinja: '{% if label == 1 %}{{text}} Repeat it. ||| {{text}}{% endif %}'
    metadata: !TemplateMetadata {}
    name: conditional
    reference: ''
"""
ROWS = [{"text": f"film {n} was seen", "label": n % 2} for n in range(60)]


@pytest.fixture
def access(tmp_path):
    return Access(data_dirs=(tmp_path,), cache=tmp_path / "cache", offline=True)


def written(tmp_path, name, text, **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    values = {"text_field": "", "where": (), "part": None} | options
    return Source(uri=f"file://{name}", digest=f"sha256:{digest}", **values)


def task(tmp_path, *, name="films", rows=ROWS, templates=TEMPLATES, names=(), **options):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return PromptedTask(
        name=name,
        rows=written(tmp_path, f"{name}.jsonl", text, **options),
        templates=written(tmp_path, f"{name}.yaml", templates),
        template_names=names,
    )


def build(tmp_path, access, *tasks, cap=1000, held_out=0.0, vocab_size=300):
    corpus = Corpus(
        slug="mixture",
        documents=Mixture(tasks=tasks, cap=cap, held_out=held_out),
        tokenizer=TrainedBPE(vocab_size=vocab_size, sentinels=4),
    )
    directory = tmp_path / "corpus"
    summary = corpora.build_corpus(corpus, directory, access=access, tokenizer_directory=None)
    return corpora.open_corpus(directory), summary


@pytest.mark.parametrize(
    ("rows", "templates", "cap", "each"),
    [(100, 10, 500_000, 100), (500_000, 10, 500_000, 500_000), (500_001, 7, 500_000, 71_428)],
)
def test_t_zeros_arithmetic(rows, templates, cap, each):
    assert template_rows(rows, templates=templates, cap=cap) == each


def test_a_cap_below_the_number_of_templates():
    with pytest.raises(ValueError, match="cap 3 is less than the 4 templates"):
        template_rows(10, templates=4, cap=3)


def test_examples_are_what_templates_render(tmp_path, access):
    opened, summary = build(tmp_path, access, task(tmp_path))
    shards = opened.train
    assert isinstance(shards, ExampleShards)
    assert shards.tasks == ["films/conditional", "films/ranked"]
    assert shards.num_examples == 30 + 60
    assert summary["train"]["tasks"][0] == {
        "task": "films/conditional",
        "rows": 60,
        "examples": 30,
        "skipped": {"not_applicable": 30},
        "rate": 0.5,
    }
    for index in range(shards.num_examples):
        inputs, targets = shards.example(index)
        assert targets[-1] == 1
        assert 1 not in inputs.tolist() + targets[:-1].tolist()
        text = opened.tokenizer.decode(inputs), opened.tokenizer.decode(targets)
        if shards.task(index) == 0:
            assert text[1] == " " + text[0].removesuffix(" Repeat it.")
        else:
            assert text[0].endswith(" Good or bad?")
            assert text[1] in (" bad", " good")


def test_prompt_and_answer_are_tokenised_apart(tmp_path, access):
    opened, _ = build(tmp_path, access, task(tmp_path))
    inputs, targets = opened.train.example(30)
    rendered = prompts.Rendered(
        inputs=opened.tokenizer.decode(inputs), targets=opened.tokenizer.decode(targets).strip()
    )
    assert mixture.encode_examples([rendered], opened.tokenizer) == [
        (inputs.tolist(), targets.tolist())
    ]
    assert inputs.tolist() == opened.tokenizer.encode(rendered.inputs)
    joined = prompts.join_target(rendered.inputs, rendered.targets)
    assert targets.tolist() == [*opened.tokenizer.encode(joined), 1]


def test_ranges_and_tasks_agree(tmp_path, access):
    shards = build(tmp_path, access, task(tmp_path))[0].train
    for number in range(len(shards.tasks)):
        indices = shards.examples_of(number)
        assert len(indices) > 0
        assert {shards.task(index) for index in indices} == {number}
    with pytest.raises(IndexError, match="example 90 of 90"):
        shards.task(90)


def test_rates_follow_the_cap(tmp_path, access):
    small = task(tmp_path, name="small", rows=ROWS[:10], names=("ranked",))
    large = task(tmp_path, name="large")
    shards = build(tmp_path, access, small, large, cap=20)[0].train
    assert shards.tasks == ["small/ranked", "large/conditional", "large/ranked"]
    assert shards.rates == pytest.approx(np.array([10, 10, 10]) / 30)
    assert len(shards.examples_of(2)) == 10
    shards = build(tmp_path, access, small, large, cap=60)[0].train
    assert shards.rates == pytest.approx(np.array([10, 60, 60]) / 130)


def test_rates_and_the_cap_count_training_rows_alone(tmp_path, access):
    """Rows that are held out of a task make it no more frequent, and take no room under the cap."""
    tasks = [
        task(tmp_path, name=f"task {n}", rows=ROWS[20 * n : 20 * n + 20], names=("ranked",))
        for n in range(3)
    ]
    opened, _ = build(tmp_path, access, *tasks, cap=20, held_out=0.3)
    trained, held = (
        np.array([len(part.examples_of(number)) for number in range(3)])
        for part in (opened.train, opened.held_out)
    )
    assert (trained + held).tolist() == [20, 20, 20]
    assert len(set(trained)) > 1
    assert opened.train.rates == pytest.approx(trained / trained.sum())
    # both parts draw tasks alike, so that the held-out loss is that of the mixture
    assert opened.held_out.rates == pytest.approx(trained / trained.sum())
    whole = int(trained.max())
    under = build(tmp_path / "cap", access, *tasks, cap=whole, held_out=0.3)[0].train
    assert [len(under.examples_of(number)) for number in range(3)] == trained.tolist()
    assert under.rates == pytest.approx(trained / trained.sum())


def test_each_template_draws_its_own_rows_and_exactly_as_many(tmp_path, access):
    twice = [row for row in ROWS for _ in range(2)]
    mixed = Mixture(tasks=(task(tmp_path, rows=twice),), cap=40, held_out=0.0)
    (spooled,) = mixture.spool(mixed, tmp_path / "spool", access=access)
    drawn = {}
    for template in spooled.templates:
        assert len(list(mixture.rendered(spooled, template, part="train", cap=40))) == 20
        drawn[template.name] = set(mixture._chosen(spooled.train, 20, salt=template.id))
    assert drawn["ranked"] != drawn["conditional"]


def test_held_out_rows_are_never_trained_on(tmp_path, access):
    opened, summary = build(tmp_path, access, task(tmp_path, names=("ranked",)), held_out=0.3)
    sides = []
    for part in (opened.train, opened.held_out):
        texts = [opened.tokenizer.decode(part.example(i)[0]) for i in range(part.num_examples)]
        sides.append(set(texts))
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 60
    assert 5 < len(sides[1]) < 35
    assert opened.held_out.rates.tolist() == [1.0]
    assert summary["held_out"]["examples"] == len(sides[1])


def sides(opened):
    """(prompt, answer) of each part."""
    decode = opened.tokenizer.decode
    return [
        [tuple(map(decode, part.example(i))) for i in range(part.num_examples)]
        for part in (opened.train, opened.held_out)
    ]


def test_rows_that_say_the_same_are_never_on_both_sides(tmp_path, access):
    """Whatever a data set numbers its rows with, and whichever task they come by."""
    rows = [
        {"text": f"film {n} was seen", "label": n % 2, name: i, "ref": f"{name}-{i}"}
        for i, name in enumerate(("idx", "row", "n", "Unnamed: 0"))
        for n in range(50)
    ]
    other = [{"text": row["text"], "label": row["label"]} for row in rows[:50]]
    opened, _ = build(
        tmp_path,
        access,
        task(tmp_path, rows=rows, names=("ranked",)),
        task(tmp_path, name="other", rows=other, names=("ranked",)),
        held_out=0.3,
    )
    train, held = sides(opened)
    assert not set(train) & set(held)
    assert len(train) + len(held) == 250
    assert len(held) > 25


def test_a_data_set_whose_texts_are_all_one_is_split_by_what_its_templates_read(
    tmp_path, access, capfd
):
    adding = TEMPLATES.replace("{{text}} Good or bad?", "{{text}} {{a}}")
    rows = [{"text": "Add one.", "a": n % 100, "label": n % 2, "n": n} for n in range(300)]
    opened, _ = build(
        tmp_path,
        access,
        task(tmp_path, rows=rows, templates=adding, names=("ranked",)),
        held_out=0.3,
    )
    train, held = sides(opened)
    assert not set(train) & set(held)
    assert len(train) + len(held) == 300
    assert len(held) > 30
    assert capfd.readouterr().err == ""


def test_a_data_set_that_says_one_thing_is_said_aloud(tmp_path, access, capfd):
    rows = [{"text": "The same, again.", "label": n % 2, "n": n} for n in range(60)]
    opened, _ = build(tmp_path, access, task(tmp_path, rows=rows, names=("ranked",)), held_out=0.3)
    train, held = sides(opened)
    assert not set(train) & set(held)
    assert "its 60 rows say 2 different things" in capfd.readouterr().err


def test_rows_wait_as_they_are(tmp_path, access):
    """Dates, bytes, NaN and tuples are in training what they are in scoring."""
    day = datetime.datetime(2020, 1, 1, 12)
    values = {"text": ["a b"], "label": [0], "day": [day], "raw": [b"x"], "x": [float("nan")]}
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    raw = (tmp_path / "a.parquet").read_bytes()
    rows = Source(
        uri="file://a.parquet",
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        text_field="",
        where=(),
        part=None,
    )
    asked = replace(task(tmp_path), rows=rows)
    mixed = Mixture(tasks=(asked,), cap=10, held_out=0.0)
    (spooled,) = mixture.spool(mixed, tmp_path / "spool", access=access)
    ((number, key, row),) = spooled.rows("train")
    assert number == 1
    (source_row,) = content.rows(rows, access=access)
    assert repr(row) == repr(source_row)
    assert (row["day"], row["raw"]) == (day, b"x")
    assert key == content.row_key(source_row)


def test_within_counts_and_never_cuts(tmp_path, access):
    shards = build(tmp_path, access, task(tmp_path))[0].train
    inputs, targets = shards.input_lengths, shards.target_lengths
    limit = int(np.median(inputs[list(shards.examples_of(1))]))
    kept, counts = shards.within(limit, 3)
    expected = [i for i in range(90) if inputs[i] <= limit and targets[i] <= 3]
    assert kept.num_examples == counts["kept"] == len(expected)
    assert counts["inputs_too_long"] == int((inputs > limit).sum())
    assert sum(counts.values()) == 90
    for new, old in enumerate(expected):
        assert [each.tolist() for each in kept.example(new)] == [
            each.tolist() for each in shards.example(old)
        ]
        assert kept.task(new) == shards.task(old)


def test_a_task_that_loses_all_examples_loses_its_rate(tmp_path, access):
    shards = build(tmp_path, access, task(tmp_path))[0].train
    kept, _ = shards.within(1000, 4)
    assert len(kept.examples_of(0)) == 0
    assert kept.rates.tolist() == [0.0, 1.0]
    assert {kept.task(i) for i in range(kept.num_examples)} == {1}


def test_limits_that_no_example_keeps(tmp_path, access):
    shards = build(tmp_path, access, task(tmp_path))[0].train
    with pytest.raises(ValueError, match="no example has at most 1 inputs and 1 targets"):
        shards.within(1, 1)


def test_a_task_without_any_example_names_the_reasons(tmp_path, access):
    escaped = TEMPLATES.replace("{{text}} Good", "{{ text.__class__.__mro__ }} Good")
    only = task(tmp_path, templates=escaped, names=("ranked",))
    with pytest.raises(ValueError, match=r"task 'films'.*'forbidden': 60"):
        build(tmp_path, access, only)


NLI = """
dataset: nli
templates:
  one: !Template
    answer_choices: yes ||| no
    id: one
    jinja: '{{text}} True? ||| {{ answer_choices[gold] }}'
    metadata: !TemplateMetadata {}
    name: ranked
    reference: ''
  two: !Template
    answer_choices: null
    id: two
    jinja: '{{text}} Continue. ||| {{more}}'
    metadata: !TemplateMetadata {}
    name: free
    reference: ''
  three: !Template
    answer_choices: yes ||| no
    id: three
    jinja: '{{text}} So? ||| {% if gold == 0 %}yes{% else %}no{% endif %}'
    metadata: !TemplateMetadata {}
    name: decided
    reference: ''
"""
# the row number is its place in the file, of which a filter may leave some out
GOLD = [
    {"text": "a", "more": "b", "gold": 0},
    {"text": "c", "more": "d", "gold": -1},
    {"text": "e", "more": None, "gold": 1},
    {"text": "g", "more": float("nan"), "gold": None},
    {"text": "i", "more": "\u200b", "gold": 1.0},
    {"text": "k", "more": "l"},
]


def pairs(opened):
    """{template: its (prompt, answer) pairs}, as text."""
    found = {}
    for index in range(opened.train.num_examples):
        inputs, targets = map(opened.tokenizer.decode, opened.train.example(index))
        task = opened.train.tasks[opened.train.task(index)].partition("/")[2]
        found.setdefault(task, []).append((inputs, targets.removesuffix("</s>").strip()))
    return found


def test_rows_that_lack_something_are_left_out_and_counted_by_reason(tmp_path, access):
    opened, summary = build(tmp_path, access, task(tmp_path, rows=GOLD, templates=NLI))
    assert pairs(opened) == {
        "ranked": [("a True?", "yes"), ("e True?", "no"), ("i True?", "no")],
        "decided": [("a So?", "yes"), ("e So?", "no"), ("i So?", "no")],
        "free": [("a Continue.", "b"), ("c Continue.", "d"), ("k Continue.", "l")],
    }
    account = {each["task"]: each for each in summary["train"]["tasks"]}
    lacking = {"unlabelled": 1, "missing": 1, "undefined": 1}
    for name in ("films/ranked", "films/decided"):
        assert account[name]["skipped"] == lacking
        assert account[name]["examples"] == 3
    assert account["films/free"]["skipped"] == {"empty": 1, "missing": 2}
    assert account["films/free"]["skipped_first"] == {
        "missing": "file://films.jsonl, row 3: 'more' is null",
        "empty": "file://films.jsonl, row 5: a text without a letter in the answer",
    }
    assert account["films/ranked"]["skipped_first"] == {
        "unlabelled": "file://films.jsonl, row 2: 'gold' is -1: no label",
        "missing": "file://films.jsonl, row 4: 'gold' is null",
        "undefined": "file://films.jsonl, row 6: UndefinedError: 'gold' is undefined",
    }


@pytest.mark.parametrize(("value", "reason"), [(-1, "unlabelled"), (None, "missing")])
def test_a_hidden_split_is_refused_though_another_template_reads_no_label(
    tmp_path, access, value, reason
):
    rows = [{"text": f"t{n}", "more": "m", "gold": value} for n in range(4)]
    one = task(tmp_path, rows=rows, templates=NLI, names=("free", "ranked"))
    match = rf"'films/ranked' keeps no row; .*'{reason}': 4.*file://films\.jsonl, row 1: 'gold'"
    with pytest.raises(ValueError, match=match):
        build(tmp_path, access, one)
    only = task(tmp_path, rows=rows, templates=NLI, names=("ranked",))
    with pytest.raises(ValueError, match=r"no template applies.*row 1: 'gold' is"):
        build(tmp_path, access, only)


def test_bytes_of_a_table_are_no_text(tmp_path, access):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"text": [b"raw", None, b"raw"], "more": ["a", "b", None], "gold": [0, 1, 1]}),
        tmp_path / "rows.parquet",
    )
    digest = hashlib.sha256((tmp_path / "rows.parquet").read_bytes()).hexdigest()
    rows = Source(
        uri="file://rows.parquet", digest=f"sha256:{digest}", text_field="", where=(), part=None
    )
    made = PromptedTask(
        name="films", rows=rows, templates=written(tmp_path, "t.yaml", NLI), template_names=()
    )
    with pytest.raises(ValueError, match=r"no template applies.*'missing': 9"):
        build(tmp_path, access, made)


def test_a_reserved_column_names_source_and_row(tmp_path, access):
    rows = [{"text": "a", "gold": 0}, {"text": "a", "gold": 0, "answer_choices": ["x"]}]
    one = task(tmp_path, rows=rows, templates=NLI, names=("ranked",))
    with pytest.raises(
        ValueError, match=r"'films': file://films\.jsonl, row 2: .*'answer_choices'"
    ):
        build(tmp_path, access, one)


def test_an_answer_need_not_be_a_choice(tmp_path, access):
    """As in promptsource's: `Show choices and generate answer` of SocialIQA and others."""
    free = NLI.replace("{{ answer_choices[gold] }}", "It is {{ answer_choices[gold] }}.")
    opened, _ = build(
        tmp_path, access, task(tmp_path, rows=GOLD, templates=free, names=("ranked",))
    )
    assert pairs(opened)["ranked"][0] == ("a True?", "It is yes.")


def test_a_task_without_rows(tmp_path, access):
    none = task(tmp_path, where=(("label", "7"),))
    with pytest.raises(ValueError, match="gives no training rows"):
        build(tmp_path, access, none)


def test_a_task_named_twice(tmp_path, access):
    one = task(tmp_path)
    with pytest.raises(ValueError, match="names a task twice"):
        build(tmp_path, access, one, one)


def test_building_is_deterministic(tmp_path, access):
    one = task(tmp_path)
    first = build(tmp_path, access, one, cap=20, held_out=0.2)[1]["digest"]
    assert build(tmp_path, access, one, cap=20, held_out=0.2)[1]["digest"] == first
    assert build(tmp_path, access, one, cap=22, held_out=0.2)[1]["digest"] != first


def test_altered_example_shards_are_named(tmp_path, access):
    build(tmp_path, access, task(tmp_path))
    directory = tmp_path / "corpus" / "train"
    raw = (directory / "targets" / "tokens.bin").read_bytes()
    (directory / "targets" / "tokens.bin").write_bytes(raw[:-2])
    with pytest.raises(ValueError, match=r"targets/tokens\.bin.*cut short"):
        ExampleShards.open(directory)


def test_parts_of_one_source_are_disjoint_tasks(tmp_path, access):
    train = task(tmp_path, part=Part(low=0, high=3, of=4)).rows
    test = task(tmp_path, part=Part(low=3, high=4, of=4)).rows
    keys = [
        [content.row_key(row) for row in content.rows(source, access=access)]
        for source in (train, test)
    ]
    assert Counter(keys[0] + keys[1]) == Counter(map(content.row_key, ROWS))


def test_the_tokenizer_knows_the_answers(tmp_path, access):
    opened, _ = build(tmp_path, access, task(tmp_path), vocab_size=320)
    assert isinstance(opened.tokenizer, tokenizer.Tokenizer)
    assert len(opened.tokenizer.encode(" good")) < len(" good")
