"""Do our suites score public checkpoints as published? T0-3B, T0, two T5-LM and a Pythia, set
beside published numbers before any suite is trusted.

`PUBLISHED` holds the numbers with their sources: only what could be read in a source is here, and
an empty slot says what is missing. `study eval sweeps/calibration.py` scores and prints the
differences, each with the 95% interval of our number; sources differ in what they average, so each
entry says it, and ours are averaged alike.

Checkpoints are directories below a --data-dir, as `google/t5-xl-lm-adapt` would be cloned; pickled
weights are never read, so one without safetensors is converted first. `study pin
sweeps/calibration.py --data-dir DIR` writes each directory's digest. T5 v1.1 is what can be opened
today; a GPT-NeoX (Pythia) is declared, and its scoring refused by name until it can.
"""

from pathlib import Path

from eval.evidence.published import Published
from study.language.suites import eai, t0
from study.language.values import Architecture, Evaluation, External
from study.sources import pins

REPORT = {"title": "Public checkpoints on our suites"}
CLAIMS = ()
PINS = pins.load(Path(__file__).with_name("pins.toml"))

CHECKPOINTS: dict[str, tuple[Architecture, str]] = {
    # slug: architecture, the hub's name
    "t0_3b": ("encoder_decoder", "bigscience/T0_3B"),
    "t0": ("encoder_decoder", "bigscience/T0"),
    "t5_lm_xxl": ("encoder_decoder", "google/t5-xxl-lm-adapt"),
    "t5_lm_xl": ("encoder_decoder", "google/t5-xl-lm-adapt"),
    "pythia_1.4b": ("causal_decoder", "EleutherAI/pythia-1.4b"),
}

PUBLISHED = {
    "t0_3b": (
        Published(
            suite="t0",
            what="mean over prompts; ANLI is the mean of its rounds",
            prompts="mean",
            means={"anli (mean)": ("anli_r1", "anli_r2", "anli_r3")},
            source="huggingface.co/hamishivi/hypertask_T0_3B, README (Ivison et al., "
            "arXiv 2212.10315)",
            scores={
                "anli (mean)": 33.4,
                "hellaswag": 27.2,
                "story_cloze": 84.0,
                "cb": 45.4,
                "copa": 75.9,
                "rte": 64.6,
                "wic": 50.7,
                "wsc": 65.1,
                "winogrande": 51.0,
            },
        ),
    ),
    "t0": (
        Published(
            suite="t0",
            what="median over prompts, mean over the 11 data sets",
            source="Wang et al. 2022, arXiv 2204.05832, Table 8",
            tasks=11,
            scores={"(suite)": 62.5},
        ),
        Published(
            suite="eai",
            what="mean over 31 tasks, one prompt each",
            source="Wang et al. 2022, arXiv 2204.05832, Table 8",
            tasks=31,
            scores={"(suite)": 52.2},
        ),
    ),
    "t5_lm_xxl": (
        Published(
            suite="t0",
            what="median over prompts, mean over the 11 data sets",
            source="Wang et al. 2022, arXiv 2204.05832, Table 8",
            tasks=11,
            scores={"(suite)": 43.2},
        ),
        Published(
            suite="eai",
            what="mean over 31 tasks, one prompt each",
            source="Wang et al. 2022, arXiv 2204.05832, Table 8",
            tasks=31,
            scores={"(suite)": 39.0},
        ),
    ),
    "t5_lm_xl": (
        Published(suite="t0", what="no published number was found", source="", scores={}),
    ),
    "pythia_1.4b": (
        Published(
            suite="eai",
            what="accuracy, zero-shot, one prompt, by lm-evaluation-harness",
            source="Biderman et al. 2023 (Pythia), as quoted by huggingface.co/Leogrin/"
            "eleuther-pythia1.4b-hh-sft",
            scores={
                "lambada": 61.6,
                "piqa": 71.1,
                "wsc": 36.5,
                "arc_easy": 60.6,
                "arc_challenge": 26.0,
                "sciq": 86.5,
                "logiqa": 21.0,
            },
        ),
    ),
}


def runs():
    for slug, (architecture, name) in CHECKPOINTS.items():
        checkpoint = External(slug=slug, source=PINS.file(name), architecture=architecture)
        yield checkpoint
        for suite in (eai.suite(PINS), t0.suite(PINS)):
            yield Evaluation(slug=f"{slug}-{suite.name}", run=checkpoint, step=0, suite=suite)
