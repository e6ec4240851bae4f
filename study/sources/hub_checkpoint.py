"""A checkpoint of the Hugging Face hub at a commit, as a directory in the cache.

Owns which files are brought: weights as safetensors, configuration and tokenizer. Pickles and code
are never downloaded. The download is huggingface_hub's, which checks what it gets and reads
HF_ENDPOINT and a token from the environment. No torch.
"""

from __future__ import annotations

import re
from pathlib import Path

from study.runs.run import Source

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*.safetensors",  # shards; a variant, as model.fp16.safetensors, is another's copy
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_NAME = re.compile(r"hf://([\w.-]+/)?[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def snapshot(source: Source, *, cache: Path, offline: bool) -> Path:
    """The directory of `hf://OWNER/NAME` at `commit:…`, from the cache or the hub.

    Raises ValueError where the name or the commit is none, and where it can't be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    commit = source.digest.removeprefix("commit:")
    if not _NAME.fullmatch(source.uri) or not _COMMIT.fullmatch(commit):
        raise ValueError(
            f"source {source.uri!r} at {source.digest!r}; legal: hf://OWNER/NAME at commit: and "
            "40 hexadecimal digits, since a branch moves"
        )
    name = source.uri.removeprefix("hf://")
    try:
        return Path(
            snapshot_download(
                name,
                revision=commit,
                cache_dir=cache / "hub-checkpoints",
                allow_patterns=list(FILES),
                local_files_only=offline,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = "this machine is offline and has no copy" if offline else str(error).splitlines()[0]
        raise ValueError(f"checkpoint {name!r} at {commit}: {why}") from error
