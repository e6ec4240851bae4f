"""Four prompt templates for each family, as promptsource 0.2.3 writes them.

Owns the wording of questions. Its words occur in the pretraining text, so that a tokenizer trained
there covers them; the phrases of held-out families do not.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import yaml

from study.language.world import scenes

CHOICES = '{{choices | join("|||")}}'
LISTED = '{{choices | join(" or ")}}'
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "world://templates")


@dataclass(frozen=True, kw_only=True)
class Wording:
    """One template: its name and its prompt; the answer is the row's gold choice."""

    name: str
    prompt: str
    answer_choices: str = CHOICES


def _wordings(*prompts: str, answer_choices: str = CHOICES) -> tuple[Wording, ...]:
    names = ("plain", "listed", "answer", "choose")
    return tuple(
        Wording(name=name, prompt=prompt, answer_choices=answer_choices)
        for name, prompt in zip(names, prompts, strict=True)
    )


TEMPLATES: dict[str, tuple[Wording, ...]] = {
    # training
    "who": _wordings(
        "{{context}} who has the {{thing}}?",
        f"{{{{context}}}} who has the {{{{thing}}}}, {LISTED}?",
        "{{context}} which one has the {{thing}}? answer:",
        f"{{{{context}}}} choose who has the {{{{thing}}}}: {LISTED}. answer:",
    ),
    "where": _wordings(
        "{{context}} where is {{person}}?",
        f"{{{{context}}}} where is {{{{person}}}}, {LISTED}?",
        "{{context}} at which place is {{person}}? answer:",
        f"{{{{context}}}} choose where {{{{person}}}} is: {LISTED}. answer:",
    ),
    "material": _wordings(
        "the {{thing}} is made of what?",
        f"the {{{{thing}}}} is made of what, {LISTED}?",
        "the {{thing}} is a thing of what? answer:",
        f"the {{{{thing}}}}: choose what it is made of: {LISTED}. answer:",
    ),
    "topic": _wordings(
        "{{context}} what is the story of?",
        f"{{{{context}}}} what is the story of, {LISTED}?",
        "{{context}} that is a story of what? answer:",
        f"{{{{context}}}} choose what the story is of: {LISTED}. answer:",
    ),
    "order": _wordings(
        "{{context}} what is first?",
        f"{{{{context}}}} what is first, {LISTED}?",
        "{{context}} what is before the other? answer:",
        f"{{{{context}}}} choose what is first: {LISTED}. answer:",
    ),
    "check": _wordings(
        "{{context}} {{claim}}, is it true?",
        "{{context}} {{claim}}, is it true, yes or no?",
        "{{context}} {{claim}}, is that so? answer:",
        "{{context}} {{claim}}, choose if it is true: yes or no. answer:",
    ),
    # held out
    "effect": _wordings(
        "{{context}} what does it do?",
        f"{{{{context}}}} what does it do, {LISTED}?",
        "{{context}} what is next? answer:",
        f"{{{{context}}}} choose what is next: {LISTED}. answer:",
    ),
    "cause": _wordings(
        "{{context}} why does it do that?",
        f"{{{{context}}}} why does it do that, {LISTED}?",
        "{{context}} why? answer:",
        f"{{{{context}}}} choose why: {LISTED}. answer:",
    ),
    "similar": _wordings(
        "the {{thing}} is like what?",
        f"the {{{{thing}}}} is like what, {LISTED}?",
        "the {{thing}} is like which thing? answer:",
        f"the {{{{thing}}}}: choose what is like it: {LISTED}. answer:",
    ),
    "ending": _wordings(
        "{{context}} what is true after that?",
        f"{{{{context}}}} what is true after that, {LISTED}?",
        "{{context}} which is true? answer:",
        f"{{{{context}}}} choose what is true: {LISTED}. answer:",
    ),
    "referent": _wordings(
        "{{context}} what does that?",
        f"{{{{context}}}} what does that, {LISTED}?",
        "{{context}} which thing does that? answer:",
        f"{{{{context}}}} choose which does that: {LISTED}. answer:",
    ),
    "last_word": _wordings(
        "{{context}} at the {{place}} there is",
        "{{context}} so the {{place}} has",
        "{{context}} that place, the {{place}}, has",
        "{{context}} the {{place}}: who is it? it is",
    ),
    "thank": _wordings(
        "{{context}} who does {{person}} thank?",
        f"{{{{context}}}} who does {{{{person}}}} thank, {LISTED}?",
        "{{context}} {{person}} says thanks to which one? answer:",
        f"{{{{context}}}} choose who {{{{person}}}} thanks: {LISTED}. answer:",
    ),
    # a task of its own, asked as its documents are written
    "recall": (Wording(name="plain", prompt=scenes.PROMPT),),
}


class _Document(dict[str, Any]):
    """A mapping that is written under promptsource's `!Template` tag."""


class _Metadata(dict[str, Any]):
    """A mapping that is written under promptsource's `!TemplateMetadata` tag."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Document, lambda dumper, value: dumper.represent_mapping("!Template", dict(value))
)
_Dumper.add_representer(
    _Metadata, lambda dumper, value: dumper.represent_mapping("!TemplateMetadata", dict(value))
)


def templates_yaml(family: str) -> str:
    """The family's templates.yaml."""
    if family not in TEMPLATES:
        raise ValueError(f"world has no family {family!r}; legal: {', '.join(TEMPLATES)}")
    templates = {}
    for wording in TEMPLATES[family]:
        identity = str(uuid.uuid5(NAMESPACE, f"{family}/{wording.name}"))
        templates[identity] = _Document(
            answer_choices=wording.answer_choices,
            id=identity,
            jinja=f"{wording.prompt} ||| {{{{answer_choices[label]}}}}",
            metadata=_Metadata(
                choices_in_prompt=LISTED in wording.prompt or "yes or no" in wording.prompt,
                metrics=["Accuracy"],
                original_task=True,
            ),
            name=wording.name,
            reference="",
        )
    return yaml.dump({"dataset": f"world/{family}", "templates": templates}, Dumper=_Dumper)
