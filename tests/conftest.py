"""What the whole suite needs of its process."""

import signal
import threading

# A suite that was started in the background ignores Ctrl-C, and so would every command that it
# starts and interrupts: ignored signals are inherited, handled ones are reset.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
