"""What a language model is trained on: documents or prompted tasks, and their tokenizer. No torch.

Owns frozen values and their legal ranges; a corpus is made by `study.language.data.corpus`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from study.runs.legal import positive, within
from study.runs.node import Prepared
from study.runs.source import Source


@dataclass(frozen=True, kw_only=True)
class PromptedTask:
    """One data set under its prompt templates (promptsource's format).

    name: unique in its mixture or suite. rows: one row a line. templates: a templates.yaml.
    template_names: which templates, in this order; empty for all of them.
    """

    name: str
    rows: Source
    templates: Source
    template_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Text:
    """Documents to pretrain on. held_out: the share of documents (by content hash) kept for
    validation loss.
    """

    sources: tuple[Source, ...]
    held_out: float

    def __post_init__(self) -> None:
        within(self, "held_out", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Prompted tasks, mixed as T0 mixes them: each template of a data set gets `cap // templates`
    rows where the data set has more rows than `cap`, else all of them; sampling is proportional to
    that (t-zero, tasks.py).

    held_out: the share of rows (by a hash of what they say) kept for validation loss.
    """

    SEMANTICS = 2  # 1 split rows by their numbers too, and trained on missing values
    tasks: tuple[PromptedTask, ...]
    cap: int
    held_out: float

    def __post_init__(self) -> None:
        positive(self, "cap")
        within(self, "held_out", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class TrainedBPE:
    """A byte-level BPE tokenizer trained on the corpus's own training documents.

    vocab_size: all entries, with pad (id 0), end of sequence (id 1) and `sentinels` (the last ids,
    descending).
    """

    vocab_size: int
    sentinels: int


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizer:
    """A Hugging Face `tokenizer.json`, extended once by pad, end of sequence and sentinels where it
    lacks them.
    """

    # since special tokens that a text spells are text under every model, and the targets of a
    # mixture have the tokens of running text
    SEMANTICS = 2
    source: Source
    sentinels: int


@dataclass(frozen=True, kw_only=True)
class Corpus(Prepared):
    """Tokenised shards and their tokenizer. `tokenizer` may be another corpus, whose tokenizer is
    then used.
    """

    slug: str = field(metadata={"identity": False})
    documents: Text | Mixture
    tokenizer: TrainedBPE | PretrainedTokenizer | Corpus

    @property
    def holds_out(self) -> bool:
        return self.documents.held_out > 0.0
