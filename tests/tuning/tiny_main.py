"""A search of the tiny network in a process of its own: `tiny_main.py IMAGES FOLDER`.

With `KILL_IN_TRIAL` in the environment it kills itself at the end of an epoch of that trial; `LOST_AFTER_SECONDS` is
when a chief gives a worker up; `SKIP_BAD_IMAGES` leaves damaged images out.
"""

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]


def kill_in(trial):
    if trial.trial == os.environ.get("KILL_IN_TRIAL"):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from tiny_network import TINY

    from keras_inception import TrainConfig
    from keras_inception.tuning import search

    search.LOST_AFTER_SECONDS = float(os.environ.get("LOST_AFTER_SECONDS", "60"))
    images, folder = sys.argv[1:]
    search.search(
        TrainConfig.of(
            architecture=TINY,
            dataset=images,
            epochs=1,
            batch_size=16,
            image_size=10,
            skip_bad_images="SKIP_BAD_IMAGES" in os.environ,
        ),
        folder,
        space=["learning_rate", "aux1_weight"],
        tuner="random",
        max_trials=3,
        on_epoch=kill_in,
    )
