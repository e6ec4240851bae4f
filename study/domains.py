"""The domains: one import each, so that the kinds of a run file are known where one is read."""

from study import language as language
