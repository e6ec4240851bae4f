"""What a signal makes of the work that it meets."""

import os
import signal
import subprocess
import sys

import pytest

from study.train.signals import STOPPING, Interrupted, handling_signals

DIES = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")


def _signalled(number, wait):
    with handling_signals() as stop:
        os.kill(os.getpid(), number)
        wait(stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_an_error_that_follows_a_signal_is_an_interruption(number):
    """A cluster signals a job's every process: what was waited for, a compiler say, dies too."""
    with pytest.raises(Interrupted, match=f"{number.name}, and then CalledProcessError"):
        _signalled(number, lambda _: subprocess.run(DIES, check=True))


def test_an_error_of_its_own_stays_one():
    with pytest.raises(subprocess.CalledProcessError), handling_signals():
        subprocess.run(DIES, check=True)


def test_handlers_are_as_before():
    before = [signal.getsignal(number) for number in STOPPING]
    with pytest.raises(Interrupted):
        _signalled(signal.SIGUSR1, lambda stop: stop.check("testing"))
    assert [signal.getsignal(number) for number in STOPPING] == before
