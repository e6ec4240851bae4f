"""What the whole suite needs of its process."""

import os
import signal
import threading

import torch

import study.domains  # noqa: F401  a run file's kinds, wherever one is read

# Triton's kernels run in its interpreter where there is no GPU; Triton asks when it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A suite that was started in the background ignores Ctrl-C, and so would every command that it
# starts and interrupts: ignored signals are inherited, handled ones are reset.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
