"""What a directory says its model is: the files that hold its weights, and the tensors in them.

Owns that no file is read on a guess and no tensor is unseen, whoever wrote the directory: this
project's exports, T5's and those of other projects open through here. Reads headers alone; what a
model makes of its tensors is each reader's. Pickles are never opened. No torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PRECISION = "float32"
"""In which every model is opened and computed, whatever its files are written in: one decision for
all families, so that no number depends on how somebody saved a copy."""
WIDTHS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
"""What weights may be stored in, by safetensors' names. Anything else needs scales to mean a
number."""
_ADAPTER = re.compile(r"adapter_(config\.json|model.*)")
_MASK = re.compile(r"(^|[._])(masked_bias|bias|mask|position_ids|token_type_ids)$")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor as its file's header has it."""

    dtype: str
    shape: tuple[int, ...]
    file: Path


def read_config(directory: Path) -> dict[str, Any]:
    """config.json. Raises ValueError where it is none, or asks for what is never done here: code of
    its own, quantised weights, weights of another name.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise ValueError(f"{directory} holds no config.json; legal: a Hugging Face directory")
    config = _json(path)
    code = config.get("auto_map")
    if code:
        raise ValueError(
            f"{directory}: its config.json is no model's here: it asks for code that the "
            f"checkpoint brings (auto_map: {_listed(code)}), and no such code is run. Legal: a "
            "model of transformers' own; where that class computes the same, a config.json without "
            "auto_map"
        )
    for part in (config, *(each for each in config.values() if isinstance(each, dict))):
        for name in ("quantization_config", "compression_config"):
            if part.get(name):
                how = part[name] if isinstance(part[name], dict) else {}
                method = how.get("quant_method") or how.get("format") or "an unnamed method"
                raise ValueError(
                    f"{path}: the weights are quantised by {method!r} ({name}), which is not "
                    f"undone here; legal: weights stored in {', '.join(WIDTHS.values())}"
                )
    if config.get("transformers_weights") not in (None, WHOLE, INDEX):
        raise ValueError(
            f"{path} names its weights {config['transformers_weights']!r}; legal: {WHOLE}, or "
            f"shards under {INDEX}"
        )
    return config


def weight_files(directory: Path) -> list[Path]:
    """The files that hold the weights: model.safetensors, or every shard that an index names.

    Raises ValueError where that is not all of the directory's model*.safetensors: what lies beside
    could be meant as well as what is read.
    """
    names = sorted(path.name for path in directory.iterdir())
    if adapters := [name for name in names if _ADAPTER.fullmatch(name)]:
        raise ValueError(
            f"{directory} holds {', '.join(adapters)}: an adapter is a change to another model's "
            "weights. Legal: the merged model (merge_and_unload in peft)"
        )
    found = [name for name in names if name.startswith("model") and name.endswith(".safetensors")]
    if not found and INDEX not in names:
        pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        raise ValueError(
            f"{directory} holds no {WHOLE}{f', but {_listed(pickles)}' if pickles else ''}; "
            "pickled weights are not read"
        )
    meant = [WHOLE]
    if INDEX in names:
        if WHOLE in names:
            raise ValueError(
                f"{directory} holds both {WHOLE} and {INDEX}, two sets of weights; legal: one"
            )
        meant = sorted(set(_weight_map(directory).values()))
    if lacking := [name for name in meant if name not in found]:
        raise ValueError(
            f"{directory} lacks {_listed(lacking)}"
            + (f", which {INDEX} names" if INDEX in names else f"; it has {_listed(found)}")
        )
    if stray := [name for name in found if name not in meant]:
        raise ValueError(
            f"{directory} holds {_listed(stray)} beside {_listed(meant)}; legal: one set of "
            "weights, without variants and strays"
        )
    return [directory / name for name in meant]


def stored_tensors(directory: Path) -> dict[str, Stored]:
    """Every tensor of the weights by its name. Raises ValueError for a file that is damaged or no
    safetensors, a tensor that lies elsewhere than its index says, and a type that no weight has.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Stored] = {}
    for file in weight_files(directory):
        try:
            with safe_open(file, framework="np") as content:
                names: list[str] = content.keys()
                for name in names:
                    if name in found:
                        raise ValueError(f"{name} lies in {found[name].file} and in {file}")
                    part = content.get_slice(name)
                    found[name] = Stored(
                        dtype=part.get_dtype(), shape=tuple(part.get_shape()), file=file
                    )
        except SafetensorError as error:
            raise ValueError(f"{file} is not a safetensors file: {error}") from error
    if (directory / INDEX).is_file():
        named = _weight_map(directory)
        here = {name: each.file.name for name, each in found.items()}
        if odd := sorted(name for name in {*named, *here} if named.get(name) != here.get(name)):
            raise ValueError(
                f"{directory / INDEX} and its shards disagree about {_listed(odd)}; legal: each "
                "tensor in the shard that the index names"
            )
    odd = [
        f"{name} ({each.dtype})"
        for name, each in found.items()
        if each.dtype not in WIDTHS and not _is_mask(name, each)
    ]
    if odd:
        raise ValueError(
            f"{directory}: {_listed(odd)} are stored as no weights are; legal: {', '.join(WIDTHS)}"
        )
    return found


def _is_mask(name: str, stored: Stored) -> bool:
    """Whether it is a buffer that a model writes beside its weights: no vector of numbers."""
    single = all(size == 1 for size in stored.shape)
    return bool(_MASK.search(name)) and (single or len(stored.shape) > 1)


def stored_types(tensors: Mapping[str, Stored]) -> tuple[str, ...]:
    """In what the weights are stored, `float32` among them, sorted."""
    return tuple(sorted({WIDTHS[e.dtype] for e in tensors.values() if e.dtype in WIDTHS}))


def check_finite(state: Mapping[str, Any], *, owner: object) -> None:
    """Refuse tensors with an infinite value or one that is no number, as rounding to fewer bits
    leaves where they are too large for it.
    """
    odd = [
        name
        for name, value in state.items()
        if value.is_floating_point() and not bool(value.isfinite().all())
    ]
    if odd:
        raise ValueError(
            f"{owner}: {_listed(odd)} hold values that are not finite (an overflow when they were "
            "saved?); legal: numbers"
        )


def _weight_map(directory: Path) -> dict[str, str]:
    path = directory / INDEX
    named = _json(path).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ValueError(f"{path} has no weight_map; legal: tensor names with their shards")
    odd = sorted(
        {
            str(name)
            for name in named.values()
            if not isinstance(name, str)
            or not name.startswith("model")
            or not name.endswith(".safetensors")
            or "/" in name
        }
    )
    if odd:
        raise ValueError(f"{path} names {_listed(odd)}; legal: model*.safetensors beside it")
    return named


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {type(content).__name__}; legal: an object")
    return content


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
