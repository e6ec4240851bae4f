"""Full language modelling (FLM): every token of a chunk is a target, the first one included."""

from __future__ import annotations

import numpy as np

from study.language.layout import Segment

NOTHING = np.empty(0, dtype=np.int32)


def segment(document: np.ndarray) -> Segment:
    return Segment(inputs=NOTHING, targets=document)
