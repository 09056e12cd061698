"""`keras-inception train`, which ends itself at a chosen moment; MOMENT names it.

- "step EPOCH STEP SIGNAL": after that step of that epoch, both from 0
- "batch EPOCH STEP SIGNAL": the same, of several workers also on one that is not the chief
- "checkpoint EPOCH SIGNAL": in the middle of writing the checkpoint of that epoch, counted from 1
- "model EPOCH SIGNAL": after that checkpoint, before the model file
- "results 1 SIGNAL": when everything is written but the results
"""

import os
import sys

sys.argv[0] = "keras-inception"

from keras_inception.cli import main, quiet  # noqa: E402, the name of the command comes first

quiet.import_tensorflow_quietly()  # as the command does before it imports anything else

import numpy as np  # noqa: E402, after TensorFlow

from keras_inception import files  # noqa: E402, after TensorFlow
from keras_inception.training import checkpoint, runs, saving  # noqa: E402, after TensorFlow

MOMENT, *NUMBERS, SIGNAL = os.environ.get("MOMENT", "never 0").split()
NUMBERS, SIGNAL = [int(number) for number in NUMBERS], int(SIGNAL)


def end():
    os.kill(os.getpid(), SIGNAL)


def before(owner, name, action):
    """Calls an action before each call of a function."""
    function = getattr(owner, name)

    def replacement(*args, **kwargs):
        action(*args, **kwargs)
        return function(*args, **kwargs)

    setattr(owner, name, replacement)


def at_step(callback, batch, logs=None):
    if [callback.progress.epoch, callback.steps] == NUMBERS:
        end()


def at_batch(callback, batch, logs=None):
    if [callback.progress.epoch, batch] == NUMBERS:
        end()


def in_checkpoint(file, **arrays):
    if f'"epoch": {NUMBERS[0]}' in str(arrays[checkpoint.PROGRESS]):
        file.write(b"half of it")
        file.flush()
        end()


def before_model(model, folder, name=runs.MODEL):
    if len((folder / runs.HISTORY).read_text().splitlines()) == 1 + NUMBERS[0]:
        end()


def before_results(path, value):
    if path.name == runs.RESULTS:
        end()


if MOMENT == "step":
    before(saving.SaveRun, "on_train_batch_end", at_step)
elif MOMENT == "batch":
    before(saving.Advance, "on_train_batch_end", at_batch)
elif MOMENT == "checkpoint":
    before(np, "savez", in_checkpoint)
elif MOMENT == "model":
    before(runs, "save_model", before_model)
elif MOMENT == "results":
    before(files, "write_json", before_results)

sys.exit(main())
