"""Sequence-mixer cores as functions over one visibility contract. Imports torch only."""
