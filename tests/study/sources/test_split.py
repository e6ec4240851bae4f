"""What a row says decides its side: never a number, a name or an order that a data set adds."""

import datetime
import uuid
from dataclasses import replace

import pytest

from study.language import world
from study.runs.source import Source
from study.sources import split
from study.sources.split import read_key, said, share, split_key

TEXT = "A good film, all in all."
SOURCE = Source(uri="hf://o/n/train", digest="commit:a", text_field="", where=(), part=None)
NAMES = (
    *("id", "idx", "index", "guid", "pairID", "question_id", "__index_level_0__", "Unnamed: 0"),
    *("row", "n", "line", "#", "", "number", "zeile", "k"),
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "values",
    [(1, 2), (1.0, 2.0), ("train-1", "train-2"), (str(uuid.UUID(int=1)), str(uuid.UUID(int=2)))],
    ids=["int", "float", "name", "uuid"],
)
def test_a_name_for_a_row_says_nothing_whatever_it_is_called(name, values):
    one, two = ({name: value, "text": TEXT, "label": 1} for value in values)
    assert said(one) == said(two)
    one, two = ({"text": TEXT, "meta": {"of": [{name: value}]}} for value in values)
    assert said(one) == said(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"idx": {"paragraph": 0, "question": 1}}, {"idx": {"paragraph": 7, "question": 1}}),
        ({"answers": {"text": ["so"], "start": [7]}}, {"answers": {"text": ["so"], "start": [9]}}),
        ({"ref": "Row 17"}, {"ref": "Row 18"}),
        ({"ref": "Example #3"}, {"ref": "Example #4"}),
        ({"ref": "Unnamed: 0-3"}, {"ref": "Unnamed: 0-4"}),
        ({"date": "Mon Apr 06 22:19:45 PDT 2009"}, {"date": "Tue Apr 07 22:19:45 PDT 2009"}),
        ({"date": "March 3rd, 2020 at 9:15pm"}, {"date": "May 4th, 2020 at 9:15am"}),
        ({"id": "the first of all"}, {"id": "the second of all"}),
        ({"url": "https://a.b/c"}, {"url": "https://a.b/d"}),
        ({"at": "2020-01-01 12:00:00"}, {"at": "2021-01-01 12:00:00+01:00"}),
        ({"at": datetime.datetime(2020, 1, 1)}, {"at": datetime.datetime(2021, 1, 1)}),
        ({"image": {"bytes": b"1"}}, {"image": {"bytes": b"2"}}),
        ({"label": 0}, {"label": 1}),
        ({"label": "negative"}, {"label": "positive"}),
        ({"label": None}, {}),
        ({"other": TEXT}, {"another": f" {TEXT}\n"}),
    ],
)
def test_what_stands_beside_a_text_says_nothing(one, two):
    assert said({"text": TEXT} | one) == said(two | {"text": TEXT})


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"premise": TEXT, "hypothesis": "It is so."}, {"premise": TEXT, "hypothesis": "Not so."}),
        ({"text": "number 7"}, {"text": "number 8"}),
        ({"text": "12 + 7 =", "kind": "sum"}, {"text": "12 + 8 =", "kind": "sum"}),
        ({"text": "这部电影非常好看"}, {"text": "这部电影非常难看"}),
        ({"tokens": ["I", "like", "it", "so", "much"]}, {"tokens": ["I", "like", "it", "so", "."]}),
        (
            {"tokens": ["So", "is", "it", "said", "."], "of": "news wire"},
            {"tokens": ["So", "it", "is", "said", "."], "of": "news wire"},
        ),
        ({"sentence": "contrived", "idx": 1}, {"sentence": "delightful", "idx": 1}),
        ({"x": 1, "y": 2}, {"x": 1, "y": 3}),
        ({"line": "I wandered lonely"}, {"line": "as a cloud"}),
        ({"id": 1}, {"id": 2}),
    ],
)
def test_other_words_are_another_row(one, two):
    assert said(one) != said(two)


def test_a_row_of_single_words_or_of_numbers_is_without_its_index():
    assert said({"sentence": "Bad!", "idx": 1, "n": 1}) == said({"sentence": "Bad!", "idx": 2})
    assert said({"sentence": "Bad!", "of": "Row 1"}) == said({"sentence": "Bad!", "of": "Row 2"})
    assert said({"sentence": "Bad!", "at": "2020-01-01 12:00"}) == said({"sentence": "Bad!"})
    assert said({"text": "这部电影非常好看", "by": "Anna"}) == said({"text": "这部电影非常好看"})
    assert said({"x": 1, "y": [2], "idx": 1}) == said({"y": [2], "x": 1, "idx": 2})
    assert said({"x": 1, "row": 1}) == said({"x": 1, "row": 2})


def test_declared_columns_alone_speak():
    row = {"text": TEXT, "title": "Of one thing", "n": 3}
    by_text = replace(SOURCE, text_field="text")
    assert split_key(row, by_text) == split_key(row | {"title": "Of another"}, by_text)
    assert split_key(row, SOURCE) != split_key(row | {"title": "Of another"}, SOURCE)
    # documents and rows for templates of one data set: the same key where the text is all there is
    assert split_key(row, by_text) == said({"text": TEXT, "label": 1})
    # and for certain where both name it
    both = replace(SOURCE, split_by=("text",))
    assert split_key(row, both) == split_key(row, by_text)
    numbers = replace(SOURCE, split_by=("n", "text"))
    assert split_key(row, numbers) != split_key(row | {"n": 4}, numbers)
    with pytest.raises(ValueError, match="no column 'text'; columns: title"):
        split_key({"title": "x"}, by_text)


def test_keys_are_pinned():
    """A change here moves rows between training and evaluation: raise Part's and Mixture's
    `SEMANTICS`.
    """
    assert said({"text": TEXT, "label": 1}).startswith("59603990e227bac1")
    assert said({"a": "b c", "d": "a b", "e": "word"}).startswith("99f21776486be9cd")
    assert said({"sentence": "contrived", "label": 0}).startswith("0199978c24194b71")
    assert said({"x": 1, "y": 2, "idx": 3}).startswith("689a8f1db9540258")


@pytest.mark.parametrize("family", sorted(world.FAMILIES))
def test_rows_of_the_microworld_have_both_sides(family):
    rows = list(world.rows(family, {"items": "400", "seed": "1"}))
    keys = [said(row) for row in rows]
    held = sum(share(key, salt="held_out") < 0.2 for key in keys) / len(rows)
    assert 0.08 < held < 0.35
    assert [said({"pair": 7, **{k: row[k] for k in row if k != "pair"}}) for row in rows] == keys


def test_templates_name_the_columns_that_they_read():
    texts = (
        "{% for x in items %}{{ x.name }} {{ a.b }}{% endfor %} ||| {{ answer_choices[c] }}",
        "",
    )
    columns = split.columns_read(texts)
    assert columns == {"items", "a", "c", "answer_choices"}
    row = {"items": [1], "a": {"b": 2, "id": 1}, "c": 0, "n": 1}
    assert read_key(row, columns) == read_key(row | {"n": 2, "a": {"b": 2, "id": 5}}, columns)
    assert read_key(row, columns) != read_key(row | {"c": 1}, columns)


def test_a_key_for_ten_rows_or_more_is_coarse():
    spread = split.Spread()
    for _ in range(19):
        spread.add("same")
    assert not spread.is_coarse
    spread.add("same")
    assert spread.is_coarse
    spread.add("other")
    spread.add("third")
    assert not spread.is_coarse
