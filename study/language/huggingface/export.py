"""A finished run as a Hugging Face directory: model, tokenizer, and where it comes from.

Owns what an export holds. The formats are `study.language.huggingface.base`'s (`hf`, any
architecture: import study.auto, then AutoModel…from_pretrained) and
`study.language.huggingface.t5`'s (`t5`, transformers' own T5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from study.language.values.stages import Stage, model_of
from study.runs.node import root
from study.runs.plan import Sweep
from study.store.directory import Store
from study.store.publish import publish_directory

TOKENIZER = Path("corpus") / "tokenizer.json"
"""Below a built corpus's run directory."""


def write(
    sweep: Sweep, *, to: Path, form: Literal["hf", "t5"], step: int | None, store: Store
) -> Path:
    """Export the one run that the target names; `to` appears whole or not at all."""
    run = sweep.declared[0]
    if len(sweep.declared) != 1 or not isinstance(run, Stage):
        raise ValueError(
            f"{sweep.path}: export takes one trained run; legal: PATH:SLUG of a Pretrain, Adapt or "
            "Finetune"
        )
    if to.exists():
        raise ValueError(f"{to} exists; legal: a new directory")
    architecture = model_of(run).architecture
    if form == "t5" and (
        architecture != "encoder_decoder" or not model_of(run).positions.startswith("t5_bias")
    ):
        raise ValueError(
            f"{run.slug!r} is a {architecture} with {model_of(run).positions}; legal for t5: an "
            "encoder_decoder with t5_bias or t5_bias_paper. Every run exports as hf"
        )
    checkpoint = store.existing(run).checkpoint(run.training.steps if step is None else step)
    tokenizer = store.existing(root(run).corpus).path / TOKENIZER
    to.parent.mkdir(parents=True, exist_ok=True)

    def fill(aside: Path) -> None:
        _fill(aside, checkpoint, tokenizer, form)
        (aside / "README.md").write_text(_card(run, form), encoding="utf-8")

    publish_directory(to, fill)
    return to


def _fill(aside: Path, checkpoint: Path, tokenizer: Path, form: Literal["hf", "t5"]) -> None:
    from transformers.utils import logging

    from study.language.huggingface.opened import read_model, write_model

    logging.disable_progress_bar()
    model = read_model(checkpoint)
    if form == "t5":
        from study.language.huggingface.t5 import export_t5

        export_t5(model, aside)  # type: ignore[arg-type]
    else:
        write_model(aside, model=model)
    write_tokenizer(tokenizer, aside)


def write_tokenizer(file: Path, directory: Path) -> None:
    """The study's tokenizer as AutoTokenizer reads it. Padding is on the left: a prompt must end
    where its continuation begins.
    """
    from transformers import PreTrainedTokenizerFast

    from study.language.data.tokenizer import Tokenizer, sentinel_token

    own = Tokenizer.load(file)
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(file),
        pad_token=own._fast.id_to_token(own.pad),
        eos_token=own._fast.id_to_token(own.eos),
        extra_special_tokens=[sentinel_token(index) for index in range(own.num_sentinels)],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(directory)
    own.save(directory / "tokenizer.json")  # byte for byte the corpus's: its digest is in the seals


def _card(run: Stage, form: str) -> str:
    shape = model_of(run)
    how = (
        "T5ForConditionalGeneration.from_pretrained(DIRECTORY)"
        if form == "t5"
        else "import study.auto; AutoModelForCausalLM (or Seq2SeqLM).from_pretrained(DIRECTORY)"
    )
    return (
        f"# {run.slug}\n\nRun `{run.id}`, {shape.architecture}, {shape.layers} layers of "
        f"{shape.d_model}, {shape.positions}.\n\nLoad: `{how}`.\n"
    )
