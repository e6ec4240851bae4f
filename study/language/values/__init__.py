"""What a sweep of language is written in: every value that its runs hold, the core's among them."""

from study.language.values.corpus import (
    Corpus,
    Mixture,
    PretrainedTokenizer,
    PromptedTask,
    Text,
    TrainedBPE,
)
from study.language.values.model import ARCHITECTURE_SHORT, Architecture, Mixer, Model, Positions
from study.language.values.objective import FullLM, Packing, PrefixLM, Prompted, SpanCorruption
from study.language.values.stages import (
    Adapt,
    External,
    Finetune,
    Pretrain,
    Stage,
    cell,
    lineage,
    model_of,
)
from study.language.values.suite import Labels, Metric, Preparation, Scoring, SuiteTask
from study.runs.node import Evaluation, Run, Trained
from study.runs.source import Part, Source
from study.runs.suite import Hole, Suite
from study.runs.training import (
    Adafactor,
    AdamW,
    Constant,
    Cosine,
    Muon,
    Rsqrt,
    Training,
    WarmupStableDecay,
)

__all__ = [
    "ARCHITECTURE_SHORT",
    "Adafactor",
    "AdamW",
    "Adapt",
    "Architecture",
    "Constant",
    "Corpus",
    "Cosine",
    "Evaluation",
    "External",
    "Finetune",
    "FullLM",
    "Hole",
    "Labels",
    "Metric",
    "Mixer",
    "Mixture",
    "Model",
    "Muon",
    "Packing",
    "Part",
    "Positions",
    "PrefixLM",
    "Preparation",
    "Pretrain",
    "PretrainedTokenizer",
    "Prompted",
    "PromptedTask",
    "Rsqrt",
    "Run",
    "Scoring",
    "Source",
    "SpanCorruption",
    "Stage",
    "Suite",
    "SuiteTask",
    "Text",
    "Trained",
    "TrainedBPE",
    "Training",
    "WarmupStableDecay",
    "cell",
    "lineage",
    "model_of",
]
