"""From something trained to something scorable: its model, its tokenizer and its weights' digest.

Owns which bytes a score belongs to. A digest is taken of the files as they are read, never of a
name, so weights that were overwritten in place are other weights. Pickles are never read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from eval.score import Subject
from eval.weights import digest_of_names, is_weights
from study.checkpoint import read_model
from study.data.shards import file_digest
from study.data.tokenizer import Tokenizer, check_same, extend
from study.decode import decode_file
from study.execution import Execution
from study.pretrained import StudyConfig
from study.run import (
    Architecture,
    Corpus,
    External,
    Trained,
    root,
    row_length,
    stages,
)
from study.store import RunDirectory, Store
from study.work import corpus_path

BATCH_TOKENS = 16_384
EXTERNAL_LENGTH = 1024
"""Of a checkpoint whose training lengths nobody declared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A subject, its tokenizer, and the digest of the files that hold its weights and shape."""

    subject: Subject
    tokenizer: Tokenizer
    weights: str


def open_run(run: Trained | External, step: int, *, store: Store, execution: Execution) -> Opened:
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
            tokenizer=_own_tokenizer(directory),
            max_length=max_length or EXTERNAL_LENGTH,
            device=device,
            batch_tokens=batch_tokens,
        )
    run = decode_file(run_directory / "run.yaml")
    if not isinstance(run, Trained):
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
    """Where an external checkpoint lies, its content checked against the source's digest."""
    uri = run.source.uri
    if not uri.startswith("file://"):
        raise ValueError(
            f"External {run.slug!r}: source {uri!r}; legal: file://DIRECTORY (download a hub "
            "checkpoint first and name its directory under --data-dir)"
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
    """sha256 (hex) over weights, shape and tokenizer.json: how an `External` names a directory by
    content.
    """
    tokenizer = directory / "tokenizer.json"
    if not tokenizer.is_file():
        raise ValueError(f"{directory} holds no tokenizer.json")
    return hashlib.sha256(
        f"{_weights_digest(directory)}\n{file_digest(tokenizer)}".encode()
    ).hexdigest()


def open_external(run: External, *, execution: Execution) -> Opened:
    directory = external_directory(run, execution=execution)
    opened = _open(
        directory,
        tokenizer=_own_tokenizer(directory),
        max_length=EXTERNAL_LENGTH,
        device=execution.device,
    )
    if opened.subject.architecture != run.architecture:
        raise ValueError(
            f"External {run.slug!r} declares {run.architecture}, but {directory} holds a "
            f"{opened.subject.architecture}"
        )
    return opened


def _open(
    directory: Path,
    *,
    tokenizer: Tokenizer,
    max_length: int,
    device: str,
    batch_tokens: int = BATCH_TOKENS,
) -> Opened:
    weights = _weights_digest(directory)
    model, architecture = _model(directory)
    size = model.get_input_embeddings().weight.shape[0]
    if tokenizer.vocab_size > size:
        raise ValueError(
            f"{directory} has {size} embeddings, but its tokenizer has {tokenizer.vocab_size} "
            "entries; a score would read past the end"
        )
    return Opened(
        subject=Subject(
            model=model.to(torch.device(device)).eval(),
            architecture=architecture,
            max_length=max_length,
            batch_tokens=batch_tokens,
        ),
        tokenizer=tokenizer,
        weights=weights,
    )


def _model(directory: Path) -> tuple[Any, Architecture]:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type")
    match kind:
        case "study_decoder" | "study_encoder_decoder":
            model = read_model(directory)
            assert isinstance(model.config, StudyConfig)
            return model, model.config.model.architecture
        case "t5":
            from study.t5 import import_t5

            return import_t5(directory, dropout=0.0), "encoder_decoder"
        case _:
            raise ValueError(
                f"{directory} holds a {kind!r}; legal: study_decoder, study_encoder_decoder, t5"
            )


def _weight_files(directory: Path) -> list[Path]:
    found = sorted(path for path in directory.iterdir() if is_weights(path.name))
    if not found:
        raise ValueError(f"{directory} holds no model*.safetensors; pickled weights are not read")
    return found


def _weights_digest(directory: Path) -> str:
    files = [directory / "config.json", *_weight_files(directory)]
    return digest_of_names({path.name: file_digest(path) for path in files})


def _tokenizer(corpus: Corpus, store: Store) -> Tokenizer:
    return Tokenizer.load(corpus_path(store, corpus) / "tokenizer.json")


def _own_tokenizer(directory: Path) -> Tokenizer:
    """A tokenizer.json in the study's id layout, or one (T5's) that `extend` leaves as it is."""
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise ValueError(f"{directory} holds no tokenizer.json")
    text = path.read_text(encoding="utf-8")
    tokenizer = extend(text, sentinels=0)
    known = json.loads(text)
    for token in known.get("added_tokens") or ():
        if tokenizer._fast.token_to_id(token["content"]) != token["id"]:
            raise ValueError(
                f"{path} has {token['content']!r} at {token['id']}; the study's layout moves it. "
                "Legal: pad 0, end of sequence 1"
            )
    return tokenizer
