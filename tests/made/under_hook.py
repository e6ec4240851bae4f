"""A program for `test_signatures.py`: every architecture once through its life, with the declared
shapes and dtypes of all three packages enforced.

A process of its own, since the hook wraps what is imported after it, and wrapped signatures answer
misuse before the project's own errors do.
"""

from jaxtyping import install_import_hook

with install_import_hook(["kernels", "study", "eval"], "beartype.beartype"):
    import numpy as np
    import torch

    from study.language.huggingface.auto import pretrained
    from study.language.layout import Segment, layout
    from study.language.model.build import build
    from study.language.model.check import MIXERS
    from study.language.model.isolation import check_isolation
    from study.language.scores.score import Request, Subject, score
    from study.language.values.model import Model
    from study.language.values.suite import Scoring
    from study.nn.loss import linear_cross_entropy

VOCABULARY = 40
ROWS = [
    tuple(
        Segment(inputs=np.full(n, 5, dtype=np.int32), targets=np.full(m, 6, dtype=np.int32))
        for n, m in row
    )
    for row in (((5, 3), (0, 4)), ((2, 6),))
]


KINDS = {
    each: {"mixer": "attention", "positions": each} for each in ("rope", "t5_bias", "t5_bias_paper")
} | {each: {"mixer": each, "positions": "none", **own} for each, own in MIXERS.items()}
KINDS["monarch in learned bases"] = {**KINDS["monarch"], "basis": 10}


def live(architecture: str, kind: str) -> None:
    shape = Model(
        architecture=architecture,  # type: ignore[arg-type]
        layers=2,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=24,
        vocab_size=VOCABULARY,
        tied=True,
        **KINDS[kind],  # type: ignore[arg-type]
    )
    model = build(shape, dropout=0.1, seed=0)
    check_isolation(
        model, architecture=shape.architecture, vocab_size=VOCABULARY, precision="float32"
    )
    batch = layout(ROWS, architecture=shape.architecture)
    read = model.read_out(model.hidden(batch)[batch.loss_mask])
    loss = linear_cross_entropy(*read, batch.labels[batch.loss_mask], z_loss=1e-4)
    loss.total.backward()
    subject = Subject(
        model=model.eval(), architecture=shape.architecture, max_length=32, batch_tokens=64
    )
    request = Request(context=(7, 8, 9), targets=((5,), (6, 7)))
    score(subject, [request], scoring=Scoring(end_of_sequence=True, truncation="left"))
    pretrained(model).generate(torch.tensor([[7, 8, 9]]), max_new_tokens=3)


for architecture in ("causal_decoder", "prefix_decoder", "encoder_decoder"):
    for kind in KINDS:
        live(architecture, kind)
        print(architecture, kind)
