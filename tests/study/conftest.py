"""The tiny network under a name."""

import pytest

pytest.importorskip("tensorflow")

from tiny_network import TINY


@pytest.fixture(scope="module", autouse=True)
def _tiny_architecture(with_architecture):
    with with_architecture(TINY):
        yield
