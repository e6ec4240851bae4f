"""A model from elsewhere is tried before it is scored: its tensors are accounted for, and it is
seen to read what its architecture says.

Owns what a checkpoint may hold beside its model's tensors, which is told by values and not by
names alone, and the probe: later tokens are changed, and earlier logits have to stay. Opening the
files is `study.sources.weight_files`', the passes are `study.language.scores.foreign`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from study.sources.weight_files import Stored

LENGTH = 12
ROUNDING = 256
"""Units in the last place of the largest logit by which what may not move does move: other shapes
and other tokens are summed in another order."""
_TRIANGLE = re.compile(r"(attn|attention)\.(bias|causal_mask)$")
_MASKED = re.compile(r"\.masked_bias$")
_FREQUENCIES = re.compile(r"(^|\.)inv_freq$")
_POSITIONS = re.compile(r"(^|\.)position_ids$")


def account(
    model: Any, tensors: Mapping[str, Stored], *, info: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[str, ...]:
    """Names of the tensors that the checkpoint has and its model does not need: buffers that older
    versions wrote, and what transformers itself lists for this class.

    info: what transformers found out when it loaded them. config: config.json as it is written.
    Raises ValueError that names what is missing, of another shape, surplus, or a copy of a tensor
    that differs from it.
    """
    problems: dict[str, list[str]] = {
        "missing": sorted(info.get("missing_keys") or ()),
        "of another shape": sorted(
            f"{name} {tuple(has)}, legal {tuple(needs)}"
            for name, has, needs in info.get("mismatched_keys") or ()
        ),
    }
    unexpected = set(info.get("unexpected_keys") or ())
    left = sorted(unexpected | set(_not_read(model, tensors)))
    problems["surplus"] = [
        name
        for name in left
        if (name in unexpected or _looks_like_buffer(name))
        and not _is_buffer(name, tensors[name], model)
    ]
    problems["unlike its twin"] = [*_twins(model, config), *_spelled_twice(model, tensors)]
    if any(problems.values()):
        said = "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)
        raise ValueError(
            f"its tensors are not those of a {type(model).__name__} with this config.json: {said}"
        )
    return tuple(left)


def _listed_by(model: Any) -> re.Pattern[str]:
    """What transformers ignores in a checkpoint of this class."""
    patterns = set(model._keys_to_ignore_on_load_unexpected or ())
    patterns |= {r"rotary_emb\.inv_freq", r"(^|\.)position_ids$"}
    return re.compile("|".join(f"({each})" for each in sorted(patterns)))


def _not_read(model: Any, tensors: Mapping[str, Stored]) -> Iterator[str]:
    """Tensors that transformers passes over without a word."""
    listed = _listed_by(model)
    own = set(model.state_dict())
    prefix = f"{model.base_model_prefix}."
    for name in tensors:
        known = {name, prefix + name, name.removeprefix(prefix)} & own
        if not known and listed.search(name):
            yield name


def _looks_like_buffer(name: str) -> bool:
    kinds = (_TRIANGLE, _MASKED, _FREQUENCIES, _POSITIONS)
    return any(each.search(name) for each in kinds)


def _is_buffer(name: str, stored: Stored, model: Any) -> bool:
    """Whether a tensor holds what its model computes anew: a mask of the future, the number that
    masks, rotary frequencies, positions. A bias of that name, or other frequencies, are weights.
    """
    if not _looks_like_buffer(name):
        return False
    with safe_open(stored.file, framework="pt") as content:
        value: Tensor = content.get_tensor(name)
    if _TRIANGLE.search(name):
        size = value.shape[-1] if value.ndim else 0
        if value.ndim < 2 or value.numel() != size * size:
            return False
        mask = value.reshape(size, size) != 0
        return bool((mask == torch.ones_like(mask).tril()).all())
    if _MASKED.search(name):
        return value.numel() == 1 and float(value) <= -1e3
    if _POSITIONS.search(name):
        flat = value.flatten()
        return bool((flat == torch.arange(len(flat))).all())
    bits = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
    return any(
        buffer.shape == value.shape
        and torch.allclose(buffer.double().cpu(), value.double(), rtol=4 * bits + 1e-6, atol=1e-9)
        for own, buffer in model.named_buffers()
        if own.endswith("inv_freq")
    )


def _twins(model: Any, config: Mapping[str, Any]) -> Iterator[str]:
    """Tensors that config.json calls one and the files hold as two."""
    own = dict(model.named_parameters(remove_duplicate=False))
    head = model.get_output_embeddings()
    text = config.get("text_config") or {}
    # T5 1.1 is untied by its file, and transformers calls every T5 tied.
    untied = any(
        each.get(name) is False
        for each in (config, text)
        for name in ("tie_word_embeddings", "scale_decoder_outputs")
    )
    for one, other in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        if one not in own or other not in own:
            continue
        apart = own[one] is not own[other] and not torch.equal(own[one], own[other])
        is_head = head is not None and own[one] is getattr(head, "weight", None)
        if apart and not (is_head and untied):
            yield f"{one} and {other}"


def _spelled_twice(model: Any, tensors: Mapping[str, Stored]) -> Iterator[str]:
    """One tensor of the model under two names, with and without its base model's prefix."""
    prefix = f"{model.base_model_prefix}."
    for name in tensors:
        bare = name.removeprefix(prefix)
        if name != bare and bare in tensors:
            yield f"{bare} and {name}"


def probe_causal(model: Any) -> None:
    """Raise ValueError unless each logit depends on the tokens before it and on no other: not on
    later ones, not on padding, not on the rows beside it.
    """
    size = model.get_input_embeddings().weight.shape[0]
    first, second = _probe_tokens(size)

    def logits(rows: list[list[int]]) -> Tensor:
        return model(input_ids=torch.tensor(rows, device=model.device)).logits.float()

    _check_order(lambda row: logits([row])[0], first, second, kind="causal decoder")
    half = LENGTH // 2
    alone = logits([first[:half]])[0]
    padded = logits([[*first[:half], *[0] * half], second])[0, :half]
    _same(alone, padded, what="padding on its right, and another row,")


def probe_seq2seq(model: Any) -> None:
    """The same of a decoder; and its source is read, padding left out."""
    size = model.get_input_embeddings().weight.shape[0]
    first, second = _probe_tokens(size)
    start = getattr(model.config, "decoder_start_token_id", None)
    if not isinstance(start, int):
        raise ValueError(f"decoder_start_token_id is {start!r}; legal: a token's id")

    def logits(source: list[int], target: list[int], *, padding: int = 0) -> Tensor:
        mask = [1] * len(source) + [0] * padding
        return (
            model(
                input_ids=torch.tensor([[*source, *[0] * padding]], device=model.device),
                attention_mask=torch.tensor([mask], device=model.device),
                decoder_input_ids=torch.tensor([[start, *target]], device=model.device),
                use_cache=False,
            )
            .logits[0]
            .float()
        )

    _check_order(lambda target: logits(first, target)[1:], first, second, kind="decoder")
    whole = logits(first, first)
    _same(whole, logits(first, first, padding=5), what="padding of its source")
    if torch.equal(whole, logits(second, first)):
        raise ValueError("changing its whole source changes no logit: it reads none")


def _check_order(logits: Any, first: list[int], second: list[int], *, kind: str) -> None:
    """Whatever comes after a place changes nothing up to it, and something behind it."""
    before = logits(first)
    if not bool(before.isfinite().all()):
        raise ValueError("its logits are not finite on a probe of a few tokens")
    for kept in (1, LENGTH // 2, LENGTH - 1):
        after = logits([*first[:kept], *second[kept:]])
        _same(before[:kept], after[:kept], what=f"a token after the first {kept}", kind=kind)
        if torch.equal(before[kept:], after[kept:]):
            raise ValueError(f"changing the tokens after the first {kept} changes no logit")


def _same(before: Tensor, after: Tensor, *, what: str, kind: str = "model") -> None:
    if _moves(before, after):
        size = float((before - after).abs().max())
        raise ValueError(
            f"{what} moves logits that must not see it, by {size:.2g}: it is no {kind} (an encoder "
            "sees both sides; `is_decoder` of its config.json?)"
        )


def _moves(before: Tensor, after: Tensor) -> bool:
    scale = torch.maximum(before.abs().max(), after.abs().max())
    bound = ROUNDING * torch.finfo(torch.float32).eps * scale
    # Negated, so that what is not a number counts as a change.
    return not bool(((before - after).abs() <= bound).all())


def _probe_tokens(size: int) -> tuple[list[int], list[int]]:
    """Two rows that differ everywhere."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, size, (LENGTH,), generator=generator)
    steps = torch.randint(1, size, (LENGTH,), generator=generator)
    return first.tolist(), ((first + steps) % size).tolist()


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
