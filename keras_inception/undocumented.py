"""What this package uses of Keras, TensorFlow and KerasTuner though they do not document it.

The docstring of each function says "Why:" it is needed and "Since:" which version the name is there;
tests/test_undocumented.py fails when it is gone. No other file of the package reads such a name: an attribute with a
leading underscore, `.src`, a match on one of their messages or on a `__qualname__`.

The libraries are imported within the functions: on another backend there is no TensorFlow.
"""


def is_of_late_joining(error: RuntimeError) -> bool:
    """Returns whether an error says that workers are joined after TensorFlow was used.

    Why: TensorFlow has no class for it, and the way out must be said.
    Since: TensorFlow 2.4.
    """
    return "program startup" in str(error)


def is_of_collective(error: Exception) -> bool:
    """Returns whether an `InternalError` of TensorFlow is of the communication between workers.

    Why: TensorFlow tells the other workers of a lost one with errors of many classes; this one has other causes too.
    Since: TensorFlow 2.4.
    """
    return "ollective" in str(error)
