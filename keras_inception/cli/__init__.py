"""The command `keras-inception`."""

from keras_inception.cli.command import main

__all__ = ["main"]
