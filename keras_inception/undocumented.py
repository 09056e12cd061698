"""What this package uses of Keras, TensorFlow and KerasTuner though they do not document it.

The docstring of each function says "Why:" it is needed and "Since:" which version the name is there;
tests/test_undocumented.py fails when it is gone. No other file of the package reads such a name: an attribute with a
leading underscore, `.src`, a match on one of their messages or on a `__qualname__`.

The libraries are imported within the functions: on another backend there is no TensorFlow.
"""
