"""What language's scores measure: accuracy of ranked answers, and bits per byte of running text.

Owns the measures' names and their words in a report; `study.language.scores.columns` owns the
columns that they are made of. No torch.
"""

from __future__ import annotations

from study.runs.measure import Measure

PROSE_NOTE = (
    "Bits per byte of whole documents, lower is better; the unit is its own and enters no score. "
    "Every document is scored after an empty context. That is how a full language model trains; "
    "prefix and encoder-decoder models never trained without a prefix, and span-corruption models "
    "never on running text, so this table ranks objectives and layouts together, and no cell's "
    "knowledge."
)

ACCURACY = Measure(
    name="accuracy",
    columns=("correct",),
    better="higher",
    is_share=True,
    blind="correct_without_context",
    otherwise="correct_other_end",
    option="whether the end of sequence is scored",
    beside=("gold_nats_per_byte", "margin", "brier"),
)
MEASURES = (
    ACCURACY,
    Measure(
        name="gold_nats_per_byte",
        columns=("gold_nats_per_byte",),
        better="higher",
        title="gold answer, nats a byte",
        note="Gold answer: its log-likelihood per byte, in nats (nearer 0 is better).",
    ),
    Measure(
        name="margin",
        columns=("margin",),
        better="higher",
        title="margin, nats",
        note="Margin: log-likelihood of the gold answer less that of the best other one, in nats "
        "(above 0 is right).",
    ),
    Measure(
        name="brier",
        columns=("brier",),
        better="lower",
        title="Brier",
        note="Brier: squared distance of the choices' probabilities from the gold one (0 is best).",
    ),
    Measure(
        name="bits per byte",
        columns=("bits", "size"),
        aggregation="ratio",
        better="lower",
        title="Held-out prose",
        note=PROSE_NOTE,
        items="documents",
    ),
)
