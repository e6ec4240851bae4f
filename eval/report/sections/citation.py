"""How to cite this software and the study that it re-runs.

Owns the two references in BibTeX; CITATION.cff in the repository says the same of the software, and
a test holds them together.
"""

from __future__ import annotations

TITLE = "archstudy: architecture and pretraining objective for zero-shot generalisation, as a study"
AUTHOR = "The archstudy contributors"
VERSION = "0.1.0"
LICENSE = "Apache-2.0"

BIBTEX = f"""@software{{archstudy,
  title   = {{{TITLE}}},
  author  = {{{{{AUTHOR}}}}},
  version = {{{VERSION}}},
  license = {{{LICENSE}}},
}}

@inproceedings{{wang2022language,
  title     = {{What Language Model Architecture and Pretraining Objective Work Best for
               Zero-Shot Generalization?}},
  author    = {{Wang, Thomas and Roberts, Adam and Hesslow, Daniel and Le Scao, Teven and
               Chung, Hyung Won and Beltagy, Iz and Launay, Julien and Raffel, Colin}},
  booktitle = {{Proceedings of the 39th International Conference on Machine Learning}},
  year      = {{2022}},
  eprint    = {{2204.05832}},
  archiveprefix = {{arXiv}},
}}"""
