"""Sources of three kinds and a corpus of them. Not a test module."""

from dataclasses import replace

import made_runs as made

from study.language.values.corpus import Text
from study.runs.source import Source

HUB = Source(
    uri="hf://owner/name/train", digest="commit:abc123", text_field="text", where=(), part=None
)
PYPI = replace(HUB, uri="pypi://made==1.0/made/data.jsonl", digest="sha256:" + "0" * 64)
FILE = replace(HUB, uri="file://here.jsonl", digest="sha256:" + "1" * 64)


def corpus_of(*found):
    return replace(made.CORPUS, documents=Text(sources=found, held_out=0.05))
