"""KerasTuner's own warnings let pass."""

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("tensorboard", reason="KerasTuner imports it in every trial")

WARNINGS_OF_KERAS_TUNER = (
    "ignore:currentThread:DeprecationWarning",
    "ignore:getName:DeprecationWarning",
    "ignore:pkg_resources is deprecated:UserWarning",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if "tuning" in str(item.path):
            for warning in WARNINGS_OF_KERAS_TUNER:
                item.add_marker(pytest.mark.filterwarnings(warning))
