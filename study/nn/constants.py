"""Numbers of the layers that no model chooses. No torch: what a layer costs needs them too."""

STATE_TAPS = 4
"""Of the short filter before a state-space mixer."""
GATED_TAPS = 3
"""Of the short filters of a long convolution."""
FILTER_BANDS = 2
FILTER_FEATURES = 1 + 2 * FILTER_BANDS
"""What an implicit filter's network reads of a tap: its time, and sine and cosine of each band."""
NUM_BUCKETS = 32
NUM_LATER_BUCKETS = NUM_BUCKETS // 2
"""Of distances under T5's relative bias (`study.nn.positions`)."""
NORM_EPSILON = 1e-6
