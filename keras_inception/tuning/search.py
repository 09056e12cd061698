"""A search on any dataset of `keras-inception train`: what `keras-inception tune` runs.

search.json    what is searched, on what: the same command goes on, another one is refused
results.csv    each trial with its values, validation accuracy, seconds, and why it failed
parallel.png   the trials as parallel coordinates
importance.png how much each hyperparameter mattered
best.json      the best trial for `keras-inception train --config`
trials/        KerasTuner's own files, with the weights of each trial's best epoch, and the curve of its objective
"""

import collections
import contextlib
import csv
import json
import os
import shutil
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras_tuner
import tensorflow as tf
from keras_tuner.errors import FatalError

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.plots import trials as plots
from keras_inception.recipes.rules import is_number, is_whole
from keras_inception.training import distribute
from keras_inception.training.loop import AveragesInValidation, load_data
from keras_inception.tuning import oracles
from keras_inception.tuning.hypermodel import OBJECTIVE, GoogLeNetHyperModel
from keras_inception.tuning.trials import HyperbandTuner, Row, Tuner, is_worker, row_of

TUNERS = ("bayesian", "random", "hyperband", "grid")
DISTRIBUTIONS = ("auto", "one", "mirrored")
SEARCH, RESULTS, BEST, PARALLEL, IMPORTANCE, TRIALS = (
    "search.json", "results.csv", "best.json", "parallel.png", "importance.png", "trials",
)  # fmt: skip


class SearchFailedError(RuntimeError):
    """No trial succeeded, or too many in a row failed."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        folder: Where it was written.
        rows: The trials that ended, of earlier runs of the command too, in their order.
        best: The best of them.
        config: The `TrainConfig` of the best.
        out_of_time: Whether the budget of time ended the search.
    """

    folder: Path
    rows: list[Row]
    best: Row
    config: object
    out_of_time: bool


def search(
    config,
    out,
    *,
    space=None,
    tuner="bayesian",
    objective=OBJECTIVE.name,
    max_trials=10,
    hours=None,
    executions=1,
    distribution="auto",
    pruning=True,
    overwrite=False,
    on_begin=lambda data, rows: None,
    on_epoch=lambda row: None,
    on_trial=lambda row: None,
):
    """Searches for the training that validates best, and writes a folder; the same call goes on after a kill.

    With `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` in the environment it is the chief,
    or a worker, of a search on several machines, which share the folder.

    Args:
        config: The `TrainConfig` of what is not searched.
        out: The search's folder.
        space: What is searched; see `GoogLeNetHyperModel`.
        tuner: "bayesian", "random", "hyperband" or "grid". The first trial takes the recipe's own values.
        objective: The name of a validation metric, such as "val_main_accuracy".
        max_trials: Trials at most, at least 1.
        hours: The budget of time, counted from the call: the trial that runs when it is spent is stopped, validated and
            counted, and no trial begins without time for a quarter of the longest one; None for no limit.
        executions: Trainings of each trial, whose mean counts.
        distribution: The devices of each trial: "one", "mirrored" for all of the machine, or "auto", which is the
            latter where it has several GPUs.
        pruning: Whether a trial is stopped whose best epoch is below the median of what the other trials had reached
            after as many epochs, a quarter of its epochs at the earliest (the median stopping rule). Hyperband has a
            rule of its own. A trial that validates without an error is stopped too: it cannot get better.
        overwrite: Whether to replace a search in that folder.
        on_begin: Called with the `data.Data` and the `Row`s of earlier runs before the first trial.
        on_epoch: Called with a `Row` of the trial that runs in this process, after each of its epochs.
        on_trial: Called with the `Row` of each trial that ends.

    Returns:
        A `Found`; None in a worker.

    Raises:
        ValueError: An argument, the space, the data or the folder is not fit for use.
        SearchFailedError: No trial succeeded, or ten in a row failed.

    Reference:
        Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.2: median stopping.
    """
    deadline = None if hours is None else time.monotonic() + hours * 3600
    out = Path(out)
    _check(tuner, max_trials, hours, executions, distribution, config)
    objective = _objective(objective, config)
    # Slurm's tasks are workers of the search, not of one training.
    several = distribution == "auto" and len(tf.config.list_physical_devices("GPU")) > 1
    strategy = distribute.get_strategy("mirrored" if several or distribution == "mirrored" else "one")
    data = load_data(config)
    if data.validation is None:
        raise InputError("A search needs validation images: use `--validation-fraction`. Received: none")
    config = replace(config, image_size=data.image_shape[0])
    hypermodel = _OnDataset(data.image_shape, len(data.class_names), space, config=config, class_names=data.class_names)
    hypermodel.strategy = strategy
    _prepare_folder(out, _identity(hypermodel, tuner, objective, executions, data), overwrite)

    oracle = _oracle(tuner, objective, max_trials, config)
    tuner_class = HyperbandTuner if tuner == "hyperband" else Tuner
    runner = tuner_class(
        oracle,
        hypermodel,
        executions_per_trial=executions,
        distribution_strategy=strategy if strategy.num_replicas_in_sync > 1 else None,
        directory=str(out),
        project_name=TRIALS,
    )
    oracle.deadline = runner.deadline = deadline
    runner.pruning, runner.on_row = pruning and tuner != "hyperband", on_epoch
    rows = [row_of(oracle, trial_id) for trial_id in oracle.end_order]

    def on_end(trial):
        rows.append(row_of(oracle, trial.trial_id))
        _write_results(out, rows, hypermodel, objective)
        on_trial(rows[-1])

    oracle.on_end = on_end
    on_begin(data, list(rows))
    try:
        with _watching(oracle):
            runner.search(epochs=config.epochs, verbose=0)
    except FatalError as error:
        raise InputError(str(error)) from error
    if is_worker():
        return None
    return _finish(out, rows, hypermodel, oracle)


def _check(tuner, max_trials, hours, executions, distribution, config):
    for name, value, choices in (("tuner", tuner, TUNERS), ("distribution", distribution, DISTRIBUTIONS)):
        if value not in choices:
            raise InputError(f"`{name}` must be one of {', '.join(choices)}. Received: {name}={value!r}")
    for name, value in (("max_trials", max_trials), ("executions", executions)):
        if not is_whole(value, 1):
            raise InputError(f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}")
    if hours is not None and not (is_number(hours, 0) and hours > 0):
        raise InputError(f"`hours` must be a number above 0, or None for no limit. Received: hours={hours!r}")
    if config.deterministic:
        raise InputError("A search does not repeat bit by bit: leave out `deterministic`.")


def _objective(name, config):
    heads = ["main", "aux1", "aux2"] if config.aux_heads else ["main"]
    known = [f"val_{head}_{metric}" for metric in ("accuracy", "loss", "top_5_accuracy") for head in heads]
    if name not in known:
        raise InputError(f"`objective` must be one of {', '.join(known)}. Received: objective={name!r}")
    return keras_tuner.Objective(name, "min" if name.endswith("loss") else "max")


class _OnDataset(GoogLeNetHyperModel):
    """Trains each trial as `keras-inception train` would: on the images of its configuration."""

    strategy = None

    def feed(self, config, model, **kwargs):
        def batch(*args, **options):
            return distribute.batch(*args, strategy=self.strategy, **options)

        data = load_data(config, preprocessing=model.preprocessing, batch=batch)
        first = kwargs.get("initial_epoch", 0)
        batches = {"x": data.train_from(first, 0), "steps_per_epoch": data.steps_per_epoch, "shuffle": False}
        callbacks = [AveragesInValidation(), *kwargs.pop("callbacks", [])]
        return {**kwargs, **batches, "validation_data": data.validation, "callbacks": callbacks}, data.steps_per_epoch


def _oracle(tuner, objective, max_trials, config):
    options = {"objective": objective, "seed": config.seed + 1}  # KerasTuner takes 0 for none
    if tuner == "hyperband":
        oracle = oracles.HyperbandOracle(max_epochs=config.epochs, **options)
        oracle.max_trials = max_trials
        return oracle
    if tuner == "bayesian":
        return oracles.BayesianOracle(max_trials=max_trials, num_initial_points=max(3, max_trials // 3), **options)
    return {"random": oracles.RandomOracle, "grid": oracles.GridOracle}[tuner](max_trials=max_trials, **options)


@contextlib.contextmanager
def _watching(oracle):
    """Looks, in the chief of a search on several machines, for workers that were lost."""
    if "KERASTUNER_ORACLE_IP" not in os.environ or is_worker():
        yield
        return
    ended = threading.Event()

    def watch():
        while not ended.wait(oracles.LOST_AFTER_SECONDS / 6):
            oracle.forget_lost(oracles.LOST_AFTER_SECONDS)

    threading.Thread(target=watch, name="watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _identity(hypermodel, tuner, objective, executions, data):
    """Returns what must be the same for a search to go on."""
    hp = keras_tuner.HyperParameters()
    hypermodel.config(hp)
    space = {item["config"]["name"]: item for item in hp.get_config()["space"]}
    return {
        "tuner": tuner,
        "objective": objective.name,
        "executions": executions,
        **{f"space: {name}": item for name, item in space.items()},
        **{f"training: {name}": value for name, value in asdict(hypermodel.base).items() if name != "strategy"},
        "images": data.sizes,
        "classes": data.class_names,
    }


def _prepare_folder(out, identity, overwrite):
    """Makes the folder of a new search, or refuses one that is not this search's."""
    path = out / SEARCH
    while is_worker() and not path.is_file():
        time.sleep(0.5)  # the chief, which may not have started, makes it
    if out.exists() and not out.is_dir():
        raise InputError(f"A search needs a folder of its own, and this is a file. Received: {out}")
    if out.is_dir() and any(out.iterdir()) and not path.is_file():
        raise InputError(f"A search needs an empty folder, and this one holds something else. Received: {out}")
    if path.is_file() and overwrite and not is_worker():
        shutil.rmtree(out)
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        files.write_json(path, identity)
        return
    was, now = files.read_json(path), _as_json(identity)
    different = [
        f"{name} was {_shown(was, name)} and is {_shown(now, name)}"
        for name in [*was, *(name for name in now if name not in was)]
        if was.get(name) != now.get(name)
    ]
    if different:
        raise InputError(
            f"{out} holds another search: {'; '.join(different)}. Go on with the command that began it, replace it "
            "with `--overwrite`, or choose another folder with `--out`."
        )


def _as_json(identity):
    return json.loads(json.dumps(identity))


def _shown(identity, name):
    if name not in identity:
        return "not there"
    value = identity[name]
    if isinstance(value, dict) and "config" in value:
        kept = ("min_value", "max_value", "step", "sampling", "values")
        return ", ".join(f"{key} {value['config'][key]}" for key in kept if value["config"].get(key) is not None)
    return value


def best_of(rows, direction="max"):
    """Returns the best of some rows, the first of several; None without one that completed."""
    rows = [row for row in rows if row.score is not None]
    return max(rows, key=lambda row: row.score if direction == "max" else -row.score, default=None)


def _config_of(row, hypermodel):
    hp = keras_tuner.HyperParameters()
    hp.values = dict(row.values)
    return replace(hypermodel.config(hp), epochs=row.values.get("tuner/epochs", hypermodel.base.epochs))


def _write_results(out, rows, hypermodel, objective):
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    with files.written_aside(out / RESULTS) as aside, open(aside, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "status", objective.name, "seconds", "epochs", *names, "reason"])
        for row in rows:
            score = "" if row.score is None else row.score
            values = [row.values.get(name, "") for name in names]
            writer.writerow([row.trial, row.status, score, f"{row.seconds:.1f}", row.epochs, *values, row.reason])
    best = best_of(rows, objective.direction)
    if best is not None:
        files.write_json(out / BEST, asdict(_config_of(best, hypermodel)))


def _finish(out, rows, hypermodel, oracle):
    direction = oracle.objective.direction
    best = best_of(rows, direction)
    if oracle.failing or best is None:
        counts = collections.Counter(row.reason for row in rows if row.reason).most_common()
        why = f"the last {oracles.FAILURES} trials failed" if oracle.failing else "no trial succeeded"
        reasons = "; ".join(f"{count} times: {reason}" for reason, count in counts) or "none was run"
        raise SearchFailedError(f"{why}, and the search ended. {reasons}")
    names = list(hypermodel.space)
    plots.parallel(rows, names, oracle.objective.name).savefig(out / PARALLEL, dpi=120)
    plots.importance(rows, names, oracle.objective.name).savefig(out / IMPORTANCE, dpi=120)
    _write_results(out, rows, hypermodel, oracle.objective)
    return Found(out, rows, best, _config_of(best, hypermodel), oracle.out_of_time)
