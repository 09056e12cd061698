"""The command `keras-inception` in a process of its own, which knows the tiny network.

With `KILL_IN_TRIAL` in the environment it kills itself at the end of an epoch of that trial; `LOST_AFTER_SECONDS` is
when a chief gives a worker up.
"""

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

if __name__ == "__main__":
    from tiny_network import TINY

    from keras_inception import architectures
    from keras_inception.cli import main

    architectures.ARCHITECTURES["tiny"] = TINY
    if "LOST_AFTER_SECONDS" in os.environ:
        from keras_inception.tuning import oracles

        oracles.LOST_AFTER_SECONDS = float(os.environ["LOST_AFTER_SECONDS"])
    victim = os.environ.get("KILL_IN_TRIAL")
    if victim:
        from keras_inception.tuning import trials

        def on_epoch_end(tuner, trial, model, epoch, logs=None):
            if int(trial.trial_id) == int(victim):
                os.kill(os.getpid(), signal.SIGKILL)

        trials.Tuner.on_epoch_end = on_epoch_end
    sys.exit(main(sys.argv[1:]))
