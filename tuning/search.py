"""Searches for the training that validates best: `keras-inception tune`, for those who come by this folder."""

import sys

from keras_inception.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
