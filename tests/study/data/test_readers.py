import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.data import readers


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_text_is_cut_at_blank_lines(tmp_path):
    path = written(tmp_path, "a.txt", "\none\ntwo\n\n \n\nthree  \r\nfour\r\n")
    assert list(readers.read(path)) == [{"text": "one\ntwo"}, {"text": "three  \nfour"}]


def test_jsonl_keeps_unicode_and_line_separators_inside_strings(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "naïve \u2028 🙂"}\n\n{"text": "b", "n": 1}\n')
    assert list(readers.read(path)) == [{"text": "naïve \u2028 🙂"}, {"text": "b", "n": 1}]


@pytest.mark.parametrize("line", ["{", "[1]", '"text"'])
def test_jsonl_names_the_bad_line(tmp_path, line):
    path = written(tmp_path, "a.jsonl", '{"text": "fine"}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2"):
        list(readers.read(path))


def test_csv_types_are_decided_by_whole_columns(tmp_path):
    text = 'text,label,year\n"a, ""b""\nc",0,1984\n1984,-1,unknown\n'
    rows = list(readers.read(written(tmp_path, "a.csv", text)))
    assert rows == [
        {"text": 'a, "b"\nc', "label": 0, "year": "1984"},
        {"text": "1984", "label": -1, "year": "unknown"},
    ]


@pytest.mark.parametrize("value", ["01", "1.0", "", "1e3", "+1", "9" * 30])
def test_csv_numbers_that_would_not_be_written_back_stay_text(tmp_path, value):
    rows = list(readers.read(written(tmp_path, "a.tsv", f"x\ty\n1\t{value}\n")))
    assert rows == [{"x": 1, "y": value}]


@pytest.mark.parametrize("line", ["1", "1,2,3"])
def test_csv_names_a_line_of_another_width(tmp_path, line):
    with pytest.raises(ValueError, match=r"a\.csv, line 3: not 2 columns"):
        list(readers.read(written(tmp_path, "a.csv", f"x,y\na,b\n{line}\n")))


def test_csv_with_a_column_named_twice(tmp_path):
    with pytest.raises(ValueError, match="named twice: x, x"):
        list(readers.read(written(tmp_path, "a.csv", "x,x\n1,2\n")))


def test_parquet_columns_as_they_are(tmp_path):
    rows = [{"text": "a", "label": 1, "day": datetime.date(2020, 1, 2)}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert list(readers.read(tmp_path / "a.parquet")) == rows


def test_parquet_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"a\.parquet: not readable as Parquet"):
        list(readers.read(written(tmp_path, "a.parquet", "PAR1 no PAR1")))


BIBLE = '''
from pythonbible.bible.bible import Bible
open({marker!r}, "w")
bible = Bible(
    Version.WORLD_ENGLISH,
    """God`s word. It was good. Second chapter. Other book.""",
    {{1001001: 0, 1001002: 12, 1002001: 25, 2001001: 41}},
    {{1001001: 11, 1001002: 24, 1002001: 40, 2001001: 52}},
    {{Book.GENESIS: {{1: 2, 2: 1}}}},
    {{Book.GENESIS: "The First Book", Book.EXODUS: "The Second Book"}},
    {{Book.GENESIS: "Genesis", Book.EXODUS: "Exodus"}},
    False,
)
'''


def test_a_bible_is_read_by_chapter_and_never_run(tmp_path):
    marker = tmp_path / "ran"
    path = written(tmp_path, "bible.py", BIBLE.format(marker=str(marker)))
    assert list(readers.read(path)) == [
        {"book": "Genesis", "chapter": 1, "text": "God's word. It was good."},
        {"book": "Genesis", "chapter": 2, "text": "Second chapter."},
        {"book": "Exodus", "chapter": 1, "text": "Other book."},
    ]
    assert not marker.exists()


@pytest.mark.parametrize(
    "text", ["x = 1\n", "def (", "bible = Bible(1, f(), {}, {}, {1: 'a'})\n", "bible = Bible()\n"]
)
def test_other_python_is_no_data(tmp_path, text):
    with pytest.raises(ValueError, match=r"bible\.py: "):
        list(readers.read(written(tmp_path, "bible.py", text)))


def test_an_unknown_format_names_the_legal_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'\.pkl'; legal: \.txt, \.jsonl"):
        readers.read(written(tmp_path, "a.pkl", ""))
