"""What the tests of this folder share."""

import signal

import pytest


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts():
    """Lets Ctrl-C raise, which it does not in what a shell starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
