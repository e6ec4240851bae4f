"""Prompt templates in promptsource's format: read as data, rendered in a sandbox, seeded.

Owns the YAML loader, what makes a rendering valid, and how a prompt and its answer are joined
before they are tokenised; what a template may do is `study.language.prompts.sandbox`'s affair. It
departs from promptsource 0.2.3 where that is unsafe or silent: jinja2's sandbox; `choice` and
`random` drawn by template and document; no truncation; a rendering without exactly two parts, or
that prints, counts or decides by a value the row lacks, is skipped with its reason instead of
becoming text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
import yaml
from jinja2.exceptions import SecurityError

from study.language.prompts import sandbox
from study.language.prompts.guard import SEPARATOR
from study.language.prompts.missing import (
    EmptyError,
    MissingError,
    UnlabelledError,
    is_blank,
    is_no_label,
)
from study.runs.source import Source
from study.sources import content
from study.sources.formats import Row

Reason = Literal[
    "not_applicable",
    "parts",
    "empty",
    "missing",
    "unlabelled",
    "undefined",
    "forbidden",
    "limit",
    "error",
]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A prompt and its answer, both stripped of outer white space."""

    inputs: str
    targets: str


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Why a row has no rendering.

    reason: `not_applicable`, the template rendered nothing, as conditional ones do by design;
        `parts`, not exactly one separator; `empty`, a part or a choice without text; `missing`, a
        value that is null, NaN or bytes; `unlabelled`, -1 in the place of a class; `undefined`, a
        column, field or place that the row lacks; `forbidden`, the sandbox refused; `limit`, too
        much work or text; `error`, anything else that the template raised.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """One prompt template.

    id: promptsource's own. answer_choices: a jinja expression, `|||` between choices, or None.
    original_task, choices_in_prompt, metrics: promptsource's metadata.
    """

    name: str
    id: str
    jinja: str
    answer_choices: str | None
    original_task: bool | None
    choices_in_prompt: bool | None
    metrics: tuple[str, ...]

    def apply(self, row: Row, *, key: str) -> Rendered | None:
        """The rendering, or None where the template does not apply; `outcome` says why."""
        outcome = self.outcome(row, key=key)
        return outcome if isinstance(outcome, Rendered) else None

    def outcome(self, row: Row, *, key: str) -> Rendered | Skipped:
        """`key` names the document; equal keys make equal random choices."""
        if "answer_choices" in row:
            raise ValueError(
                f"template {self.name!r}: a row has the column 'answer_choices', which templates "
                "use for their own; rename it"
            )
        try:
            choices = self._choices(row, key=key)
            variables = self._variables(row) | {"answer_choices": choices}
            seed = f"{self.id}\0{key}\0prompt"
            whole = sandbox.render(self.jinja, variables, seed=seed, choices=False)
        except _CAUGHT as error:
            return _skipped(error)
        if is_blank(whole):
            return Skipped(reason="not_applicable", detail="renders nothing")
        parts = [_text(part) for part in whole.split(SEPARATOR)]
        if len(parts) != 2:
            return Skipped(reason="parts", detail=f"{len(parts)} parts; legal: 2")
        inputs, targets = parts
        if is_blank(inputs):
            return Skipped(reason="empty", detail="no inputs")
        if is_blank(targets):
            return self._without_answer(row)
        if any(map(is_blank, choices or ())):
            return Skipped(reason="empty", detail="a choice without text")
        if is_no_label(targets) and self._answers_no_label(row, targets, choices):
            return Skipped(reason="unlabelled", detail=f"the answer is {targets!r}: no label")
        return Rendered(inputs=inputs, targets=targets)

    def choices(self, row: Row, *, key: str) -> list[str] | None:
        """The answers to rank, or None where the template is open-ended or does not apply.

        They are those that the prompt of the same key was rendered with.
        """
        try:
            choices = self._choices(row, key=key)
        except _CAUGHT:
            return None
        if choices is None:
            return None
        return [_text(choice) for choice in choices]

    def _choices(self, row: Row, *, key: str) -> list[str] | None:
        if self.answer_choices is None:
            return None
        seed = f"{self.id}\0{key}\0choices"
        whole = sandbox.render(self.answer_choices, self._variables(row), seed=seed, choices=True)
        return [choice.strip() for choice in whole.split(SEPARATOR)]

    def _variables(self, row: Row) -> dict[str, Any]:
        return sandbox.variables(row, known=self._known)

    @property
    def _known(self) -> frozenset[str]:
        return sandbox.known_columns(self.jinja, self.answer_choices or "")

    def _answers_no_label(self, row: Row, targets: str, choices: list[str] | None) -> bool:
        """Whether the answer -1 is a label's and no text's: a number, or none of the choices."""
        numbers = (row[name] for name in row.keys() - self._known if not isinstance(row[name], str))
        return any(map(is_no_label, numbers)) or bool(
            choices and targets not in map(_text, choices)
        )

    def _without_answer(self, row: Row) -> Skipped:
        """Templates that know what -1 means, as most of SuperGLUE's, then print no answer."""
        for column in self._known & row.keys():
            if is_no_label(row[column]):
                return Skipped(reason="unlabelled", detail=f"{column!r} is -1: no label")
        return Skipped(reason="empty", detail="no targets")


def _text(part: str) -> str:
    return part.replace(sandbox.PROTECTOR, SEPARATOR).strip()


def join_target(inputs: str, targets: str) -> str:
    """The answer as it is tokenised: on its own, after one space where the prompt does not end in
    white space.

    The one rule for the join, at finetuning and at scoring alike. The prompt is tokenised on its
    own too, so no token spans the join, and a byte-level BPE sees ` good` as it does in running
    text.
    """
    return f" {targets}" if inputs and not inputs[-1].isspace() else targets


class _Loader(yaml.SafeLoader):
    """yaml's safe loader and the two tags of promptsource, as plain mappings."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


for _tag in ("!Template", "!TemplateMetadata"):
    _Loader.add_constructor(_tag, _mapping)


def load_templates(
    source: Source, *, access: content.Access, names: Sequence[str] = ()
) -> list[Template]:
    """The templates of a templates.yaml, sorted by name; only `names`, in their order, if given."""
    templates = parse_templates(content.text(source, access=access), origin=source.uri)
    if not names:
        return templates
    known = {template.name: template for template in templates}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{source.uri}: no template {unknown[0]!r}; legal: {', '.join(map(repr, known))}"
        )
    return [known[name] for name in names]


_MALFORMED = (KeyError, TypeError, AttributeError, ValueError)


def parse_templates(text: str, *, origin: str) -> list[Template]:
    """Raises ValueError, naming `origin` and the entry, on what is not promptsource's format."""
    where = origin
    try:
        form = yaml.load(text, Loader=_Loader)
        templates = []
        for key, entry in form["templates"].items():
            where = f"{origin}: template {key!r}"
            templates.append(_template(entry))
    except KeyError as error:
        raise ValueError(f"{where}: not promptsource's format (no {error})") from error
    except (yaml.YAMLError, jinja2.TemplateSyntaxError, *_MALFORMED) as error:
        raise ValueError(f"{where}: not promptsource's format ({error})") from error
    twice = [name for name, count in Counter(each.name for each in templates).items() if count > 1]
    if twice:
        raise ValueError(f"{origin}: two templates are named {twice[0]!r}")
    return sorted(templates, key=lambda template: template.name)


def _template(entry: dict[str, Any]) -> Template:
    metadata = entry.get("metadata") or {}
    jinja, choices = entry["jinja"], entry.get("answer_choices")
    for name in ("id", "name"):
        if not isinstance(entry[name], str | int) or is_blank(str(entry[name])):
            raise ValueError(f"{name!r} is {entry[name]!r}; legal: text")
    if not isinstance(jinja, str) or not isinstance(choices, str | None):
        raise ValueError("jinja and answer_choices must be text")
    for expression, is_choices in ((jinja, False), (choices or "", True)):
        # what the sandbox forbids is a reason of each row's
        with suppress(SecurityError):
            sandbox.compiled(expression, choices=is_choices)
    return Template(
        # some of promptsource's names end in a space
        name=str(entry["name"]).strip(),
        id=str(entry["id"]),
        jinja=jinja,
        answer_choices=choices,
        original_task=metadata.get("original_task"),
        choices_in_prompt=metadata.get("choices_in_prompt"),
        metrics=tuple(metadata.get("metrics") or ()),
    )


# what a template can raise: its own mistakes are a row's reason to be skipped, never a crash
_CAUGHT = (
    jinja2.TemplateError,
    OverflowError,
    MemoryError,
    RecursionError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


def _skipped(error: BaseException) -> Skipped:
    match error:
        case SecurityError():
            reason: Reason = "forbidden"
        case EmptyError():
            reason = "empty"
        case MissingError():
            reason = "missing"
        case UnlabelledError():
            reason = "unlabelled"
        case jinja2.UndefinedError():
            reason = "undefined"
        case OverflowError() | MemoryError() | RecursionError():
            reason = "limit"
        case _:
            reason = "error"
    ours = isinstance(error, MissingError | UnlabelledError)
    message = f"{error}" if ours else f"{type(error).__name__}: {error}"
    return Skipped(reason=reason, detail=message)
