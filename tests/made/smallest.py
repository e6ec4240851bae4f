"""The smallest causal decoder that can be trained and scored. Not a test module."""

from study.language.recipes.presets import small_training, world
from study.language.values.corpus import Corpus, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing
from study.language.values.stages import Pretrain

CORPUS = Corpus(
    slug="text",
    documents=Text(sources=(world("text", documents=60, seed=1),), held_out=0.1),
    tokenizer=TrainedBPE(vocab_size=300, sentinels=8),
)


def pretrain(corpus=CORPUS, *, length, slug="tiny"):
    """Two steps of two rows; its vocabulary has 300 entries."""
    return Pretrain(
        slug=slug,
        corpus=corpus,
        model=Model(
            architecture="causal_decoder",
            mixer="attention",
            positions="rope",
            layers=1,
            d_model=16,
            heads=2,
            d_head=8,
            d_ff=32,
            vocab_size=300,
            tied=True,
        ),
        objective=FullLM(length=length),
        packing=Packing(document_masking=True, eos_between=True),
        training=small_training(1e-3, steps=2, batch_size=2),
        seed=0,
    )
