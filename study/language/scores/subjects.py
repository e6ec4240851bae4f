"""From something trained to something scorable: its model, its tokenizer and its weights' digest.

Owns which bytes a score belongs to. A digest is taken of the files as they are read, never of a
name, so weights that were overwritten in place are other weights. Pickles are never read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from study.language.data.corpus import corpus_path
from study.language.data.shards import file_digest
from study.language.data.tokenizer import Tokenizer, check_same, extend
from study.language.huggingface.opened import read_model
from study.language.model.language_model import LanguageModel
from study.language.scores.score import Ids, Subject
from study.language.values.corpus import Corpus
from study.language.values.model import Architecture
from study.language.values.objective import row_length
from study.language.values.stages import External, Stage
from study.runs.decode import decode_file
from study.runs.execution import Execution
from study.runs.node import root, stages
from study.show.terminal import log_warning
from study.sources.hub import snapshot
from study.sources.weight_files import (
    PRECISION,
    read_config,
    stored_tensors,
    stored_types,
    weight_files,
)
from study.store.directory import RunDirectory, Store
from study.store.weights import digest_of_names

BATCH_TOKENS = 16_384
EXTERNAL_LENGTH = 1024
"""Of a checkpoint whose training lengths nobody declared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A subject, its tokenizer, and the digest of the files that hold its weights and shape.

    stored: what the weights are stored in; they are computed in
    `study.sources.weight_files.PRECISION`. left_out: tensors of the files that the model does not
    need.
    """

    subject: Subject
    tokenizer: Tokenizer
    weights: str
    stored: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def was_as_stored(self) -> bool:
        """Whether it was once computed in what it is stored in: this project's own models and T5s
        were, models from elsewhere never.
        """
        return isinstance(self.subject.model, LanguageModel) and self.stored != (PRECISION,)


def open_run(run: Stage | External, step: int, *, store: Store, execution: Execution) -> Opened:
    """The model of a run's checkpoint. Its longest context is what its lineage trained on."""
    if isinstance(run, External):
        return open_external(run, execution=execution)
    directory = store.existing(run)
    tokenizer = _tokenizer(root(run).corpus, store)
    if (done := directory.done()) is not None:
        check_same(tokenizer, digest=done["tokenizer"], owner=f"{run.slug!r}")
    return _open(
        directory.checkpoint(step),
        tokenizer=tokenizer,
        max_length=max(row_length(stage.objective) for stage in stages(run)),
        device=execution.device,
    )


def open_directory(
    directory: Path,
    *,
    max_length: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    device: str = "cpu",
) -> Opened:
    """A run's directory (its last good checkpoint), one of its checkpoints, or an export."""
    run_directory = next(
        (each for each in (directory, directory.parent.parent) if (each / "run.yaml").is_file()),
        None,
    )
    if run_directory is None:
        return _open(
            directory,
            tokenizer=None,
            max_length=max_length,
            device=device,
            batch_tokens=batch_tokens,
        )
    run = decode_file(run_directory / "run.yaml")
    if not isinstance(run, Stage):
        raise ValueError(
            f"{run_directory} holds a {type(run).__name__}; legal: Pretrain, Adapt, Finetune"
        )
    if directory == run_directory:
        step = RunDirectory(run_directory).latest()
        if step is None:
            raise ValueError(f"{run_directory} has no good checkpoint")
        directory = RunDirectory(run_directory).checkpoint(step)
    lengths = [row_length(stage.objective) for stage in stages(run)]
    return _open(
        directory,
        tokenizer=_tokenizer(root(run).corpus, Store(run_directory.parent)),
        max_length=max_length or max(lengths),
        device=device,
        batch_tokens=batch_tokens,
    )


def external_directory(run: External, *, execution: Execution) -> Path:
    """Where an external checkpoint lies: a directory whose content is checked against the source's
    digest, or a copy of the hub's at the source's commit.
    """
    uri = run.source.uri
    if uri.startswith("hf://"):
        return snapshot(run.source, cache=execution.cache, offline=execution.offline)
    if not uri.startswith("file://"):
        raise ValueError(
            f"External {run.slug!r}: source {uri!r}; legal: file://DIRECTORY, hf://OWNER/NAME"
        )
    name = uri.removeprefix("file://")
    found = next((each / name for each in execution.data_dirs if (each / name).is_dir()), None)
    if found is None:
        places = ", ".join(map(str, execution.data_dirs)) or "no data directory was given"
        raise ValueError(f"External {run.slug!r}: no directory {name!r} (looked in: {places})")
    digest = f"sha256:{directory_digest(found)}"
    if digest != run.source.digest:
        raise ValueError(
            f"External {run.slug!r}: {found} has the digest {digest}, "
            f"but the run names {run.source.digest}"
        )
    return found


def directory_digest(directory: Path) -> str:
    """sha256 (hex) over weights, shape, tokenizer.json and, where it is there,
    tokenizer_config.json: how an `External` names a directory by content.
    """
    tokenizer = directory / "tokenizer.json"
    if not tokenizer.is_file():
        raise ValueError(f"{directory} holds no tokenizer.json")
    parts = [_weights_digest(directory, weight_files(directory)), file_digest(tokenizer)]
    # It names the special tokens.
    settings = directory / "tokenizer_config.json"
    parts += [file_digest(settings)] if settings.is_file() else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def open_external(run: External, *, execution: Execution) -> Opened:
    directory = external_directory(run, execution=execution)
    opened = _open(directory, tokenizer=None, max_length=None, device=execution.device)
    if opened.subject.architecture != run.architecture:
        raise ValueError(
            f"External {run.slug!r} declares {run.architecture}, but {directory} holds a "
            f"{opened.subject.architecture}"
        )
    return opened


def _open(
    directory: Path,
    *,
    tokenizer: Tokenizer | None,
    max_length: int | None,
    device: str,
    batch_tokens: int = BATCH_TOKENS,
) -> Opened:
    """tokenizer: None is the directory's own. max_length: None is what its model can read."""
    if tokenizer is None and not (directory / "tokenizer.json").is_file():
        raise ValueError(f"{directory} holds no tokenizer.json")
    files = weight_files(directory)
    config = read_config(directory)
    stored = stored_types(stored_tensors(directory))
    weights = _weights_digest(directory, files)
    ids, length = Ids(), EXTERNAL_LENGTH
    left_out: tuple[str, ...] = ()
    model: Any
    match config.get("model_type"):
        case "study_decoder" | "study_encoder_decoder":
            model = read_model(directory)
            architecture = model.shape.architecture
            if model.shape.basis:
                length = min(length, model.shape.basis**2 - 1)
            tokenizer = tokenizer or _own_tokenizer(directory)
            size = model.shape.vocab_size
            model = model.to(torch.device(device)).eval()
        case "t5" if _is_ours(directory):
            model, architecture = _t5(directory), "encoder_decoder"
            tokenizer = tokenizer or _t5_tokenizer(directory)
            size = model.shape.vocab_size
            model = model.to(torch.device(device)).eval()
        case _:
            from study.language.scores import foreign

            architecture = _foreign_architecture(directory)
            tokenizer = foreign.load_tokenizer(directory)
            model, left_out = foreign.load_model(
                directory, architecture=architecture, device=device
            )
            # A causal model has no start token of its own; an encoder cannot read nothing.
            decoder = architecture != "encoder_decoder"
            ids = Ids(
                end=tokenizer.eos,
                prefix=tokenizer.prefix,
                start=tokenizer.prefix if decoder else None,
                reads_nothing=decoder,
            )
            length = foreign.longest(model.model.config, directory, default=EXTERNAL_LENGTH)
            size = model.model.get_input_embeddings().weight.shape[0]
    _check_rows(directory, tokenizer=tokenizer, ids=ids, size=size)
    for cure in tokenizer.trial.cures:
        log_warning(f"{directory}: {cure}")
    return Opened(
        subject=Subject(
            model=model,
            architecture=architecture,
            max_length=max_length or length,
            batch_tokens=batch_tokens,
            ids=ids,
        ),
        tokenizer=tokenizer,
        weights=weights,
        stored=stored,
        left_out=left_out,
    )


def _t5(directory: Path) -> Any:
    """The project's own encoder-decoder with a T5's weights, as transformers knows it, and with the
    settings for generating that lie beside them.
    """
    from transformers import GenerationConfig, T5Config

    from study.language.huggingface.auto import pretrained
    from study.language.huggingface.t5 import import_t5

    model = pretrained(import_t5(directory, dropout=0.0))
    if (directory / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(directory)
    else:
        config = T5Config.from_json_file(directory / "config.json")
        model.generation_config = GenerationConfig.from_model_config(config)
    return model


def _check_rows(directory: Path, *, tokenizer: Tokenizer, ids: Ids, size: int) -> None:
    """Every token that a text or the rule can ask for has an embedding; what can't occur needs
    none.
    """
    before, after = tokenizer.trial.marks
    named = (ids.end, ids.prefix, *before, *after)
    name_of = tokenizer._fast.id_to_token
    over = tokenizer.beyond(size) | {str(name_of(own)): own for own in named if own >= size}
    if over:
        name, own = min(over.items(), key=lambda each: each[1])
        raise ValueError(
            f"{directory} has {size} embeddings, but its tokenizer gives {name!r} the id {own} "
            f"({len(over)} such); legal: below {size}. A score would read past the end"
        )


def _is_ours(directory: Path) -> bool:
    """Whether a T5 is one that the project's own encoder-decoder computes; another (ReLU, other
    ids) is a model from elsewhere.
    """
    from transformers import T5Config

    from study.language.huggingface.t5 import model_from_config

    try:
        model_from_config(T5Config.from_json_file(directory / "config.json"))
    except Exception:  # transformers says why when it is asked for the same
        return False
    return True


def _foreign_architecture(directory: Path) -> Architecture:
    """By transformers' own lists, the sequence-to-sequence models first: some are on both."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )

    try:
        config = AutoConfig.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever it makes of what is written there
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(
            f"{directory}: its config.json is no model's here: {kind}{error}"
        ) from error
    if config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return "encoder_decoder"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal_decoder"
    raise ValueError(
        f"{directory} holds a {config.model_type!r}; legal: the study's own models, T5, and what "
        "transformers has as a causal or a sequence-to-sequence language model"
    )


def _weights_digest(directory: Path, files: Sequence[Path]) -> str:
    files = [directory / "config.json", *files]
    return digest_of_names({path.name: file_digest(path) for path in files})


def _tokenizer(corpus: Corpus, store: Store) -> Tokenizer:
    return Tokenizer.load(corpus_path(store, corpus) / "tokenizer.json")


def _own_tokenizer(directory: Path) -> Tokenizer:
    """A tokenizer.json in the study's id layout."""
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{directory} holds no tokenizer.json")
    text = path.read_text(encoding="utf-8")
    tokenizer = extend(text, sentinels=0, name=str(path))
    known = json.loads(text)
    for token in known.get("added_tokens") or ():
        if tokenizer._fast.token_to_id(token["content"]) != token["id"]:
            raise ValueError(
                f"{path} has {token['content']!r} at {token['id']}; the study's layout moves it. "
                "Legal: pad 0, end of sequence 1"
            )
    return tokenizer


def _t5_tokenizer(directory: Path) -> Tokenizer:
    """T5's tokenizer.json, which has the study's layout, with what it adds to an input."""
    from tokenizers import Tokenizer as Fast

    from study.language.scores.foreign import ForeignTokenizer

    own = _own_tokenizer(directory)
    path = directory / "tokenizer.json"
    try:
        return ForeignTokenizer(Fast.from_file(str(path)), end=own.eos, prefix=own.eos)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
