"""What the tests of the diagnosis share."""

import pytest


@pytest.fixture
def said():
    """The messages that a callback reported."""
    return []
