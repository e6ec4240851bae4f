"""Importing this module tells transformers' Auto classes of the study's models, of every domain.

import study.auto
model = AutoModelForCausalLM.from_pretrained(DIRECTORY)
"""

import study.domains  # noqa: F401  so that each is registered
from study.runs import domain

for _each in domain.registered().values():
    _each.auto()
