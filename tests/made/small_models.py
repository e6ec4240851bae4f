"""Two layers of width 16 with every mixer, for tests of single rows. Not a test module."""

from study.language.model.build import build
from study.language.model.check import MIXERS
from study.language.values.model import Model

ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
KINDS = {"attention": {"mixer": "attention"}} | {
    each: {"mixer": each, **own} for each, own in MIXERS.items()
}
VOCABULARY = 40


def small(kind, architecture):
    """An untrained model on the CPU, in float32."""
    shape = Model(
        architecture=architecture,
        positions="rope" if kind == "attention" else "none",
        layers=2,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=24,
        vocab_size=VOCABULARY,
        tied=True,
        **KINDS[kind],
    )
    return build(shape, dropout=0.0, seed=0)
