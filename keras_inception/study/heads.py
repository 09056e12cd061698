"""What the auxiliary heads do: the same network trained with no, each and all of them, compared seed by seed.

trainings.jsonl  the finished trainings, a row each, without weights: with this file alone the study goes on elsewhere
study.csv     each training: accuracies at the end, the step at which the main head left chance, CPU time
study.md      the comparison in tables, with its definitions and its budget
accuracy.png, leaving.png, final.png, gradients.png, gradients-by-epoch.png, jacobians.png
NETWORK/VARIANT/seed-N/  the run folder of each training, with the losses of its steps in steps.csv, and in
              gradients.csv the gradient that reached each row of Table 1 from each head's loss

In every training the network has all its heads; a head that does not learn has a loss weight of 0. No gradient comes
from it, so that the trunk learns as if it were not there, and the trainings of a seed begin with the same weights, see
the same batches and draw the same dropout.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

import keras

from keras_inception import architectures as records
from keras_inception import files
from keras_inception.architectures import Architecture
from keras_inception.data import Data, fingerprint
from keras_inception.errors import InputError, shown
from keras_inception.network.blocks import MAIN
from keras_inception.rules import argument, is_whole
from keras_inception.study import findings, rows
from keras_inception.study.results import BASELINE, Study, StudyRun, named
from keras_inception.study.rows import STEPS
from keras_inception.study.steps import StepLosses
from keras_inception.training import diagnosis, runs
from keras_inception.training.checkpoint import Progress
from keras_inception.training.config import TrainConfig, changes
from keras_inception.training.loop import train
from keras_inception.types import PathLike

COMPARED = ("googlenet", "googlenet_bn")
FALLING = "falling"  # all heads learn, and the weights of their losses fall linearly to 0

# What the weights begin with, as a recipe's `kernel_initializer` and `bias_initializer`.
Initializers: TypeAlias = tuple[str | None, str | None]
INITIALIZERS: dict[str, Initializers] = {
    "he": (None, None),  # this package's
    "glorot": ("glorot_uniform", None),  # Keras's
    "bvlc": ("lecun_uniform", "constant(value=0.2)"),  # Caffe's xavier, with the biases of its bvlc_googlenet
    "normal": ("random_normal(stddev=0.01)", None),  # AlexNet's (Krizhevsky et al. 2012, section 5)
}


@dataclass(frozen=True)
class Planned:
    """A training that a study needs.

    Attributes:
        network: The name of its network in the study, which its folder has.
        variant: The heads that learn.
        seed: Its seed.
        config: What it trains.
        folder: Its run folder.
    """

    network: str
    variant: str
    seed: int
    config: TrainConfig
    folder: Path

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return named(self.network, self.variant, self.seed)


def variants_of(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """Returns the auxiliary heads that learn, by the names of the variants: none, each alone, and both or all."""
    heads = architecture.heads[1:]
    together = {"both" if len(heads) == 2 else "all": heads} if len(heads) > 1 else {}
    return {BASELINE: (), **{head: (head,) for head in heads}, **together}


def heads(
    config: TrainConfig | None = None,
    folder: PathLike | None = None,
    *,
    seeds: int = 3,
    architectures: Sequence[str | Architecture] = COMPARED,
    initializers: Sequence[str] | Mapping[str, Initializers] | None = None,
    variants: Sequence[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    on_check: Callable[[int, int], None] | None = None,
    on_begin: Callable[[int, int], None] = lambda missing, count: None,
    on_training: Callable[[StudyRun], None] = lambda training: None,
    report: Callable[[str], None] = diagnosis.warn,
) -> Study:
    """Trains networks with no, each and all auxiliary heads, and writes what that changed.

    The same call goes on after an interruption: finished trainings are kept, the one that was under way is resumed.
    More seeds, architectures, initializers or variants may be asked for later. Each finished training is a row of
    `trainings.jsonl`: a folder that holds this file alone goes on from there, on another machine too. It trains on one
    machine, one training at a time.

    Args:
        config: What all trainings share; by default the recipe "quick" on handwritten digits. Its `architecture` is
            not read, `seed` is the first seed, and the loss weights of the auxiliary heads are those of a head that
            learns. `gradient_flow` is 1 where it is 0. On several devices it trains where `strategy` is "mirrored".
        folder: The study's folder; by default `studies/DATASET-heads`.
        seeds: How many trainings of each network and variant, at least 1; two are needed for an interval.
        architectures: Networks with the same auxiliary heads, by name or as records.
        initializers: What the weights of the networks begin with, to be compared: names of `INITIALIZERS` ("he",
            "glorot", "bvlc", "normal"), or pairs of a recipe's `kernel_initializer` and `bias_initializer` by names of
            your own; by default what the recipe says.
        variants: Some of "none", the names of the heads, "both" (or "all", where there are more), and "falling": all
            heads, with loss weights that fall linearly to 0; by default each of them but the last. Differences are to
            "none".
        callbacks: Further Keras callbacks of each training.
        on_check: Called with how many images of a folder were checked, and how many there are.
        on_begin: Called with the number of trainings that are missing and the number of all.
        on_training: Called with each `StudyRun` that is there, in order.
        report: Called with each message about what goes wrong in a training, see `diagnosis`.

    Returns:
        A `Study`.

    Raises:
        InputError: An argument, the configuration, the data or the folder is not fit for use.
        OSError: The folder cannot be written; the last checkpoint is whole.
        diagnosis.NotFiniteError: A loss became NaN or infinite.
        interruption.PreemptedError: SIGTERM came; the training that was under way was saved.
    """
    config = TrainConfig() if config is None else config
    if not isinstance(config, TrainConfig):
        raise InputError(f"`config` must be a `TrainConfig`. Received: config={shown(config)}")
    lists: dict[str, Any] = {"architectures": architectures, "variants": () if variants is None else variants}
    if not isinstance(initializers, (Mapping, NoneType)):
        lists["initializers"] = initializers
    for name, value in lists.items():
        if not isinstance(value, (list, tuple)):
            raise InputError(f"`{name}` must be a list of names. Received: {name}={shown(value)}")
    found = [replace(config, architecture=network).resolved_architecture for network in architectures]
    known = _check(config, seeds, found, variants)
    chosen = {variant: known[variant] for variant in (_usual(known) if variants is None else variants)}
    networks = _networks(config, dict(zip((record.name for record in found), architectures)), initializers)
    default = Path("studies") / f"{Path(config.dataset).name}-heads"
    folder = default if folder is None else files.named(folder, "folder")
    _check_folder(folder, config, networks)
    replace(config, seed=config.seed + seeds - 1)  # refuses a seed that is too large before the first training
    numbers = tuple(range(config.seed, config.seed + seeds))
    planned = [
        Planned(name, variant, seed, _config_of(its, variant, seed), folder / name / variant / f"seed-{seed}")
        for name, its in networks.items()
        for variant in chosen
        for seed in numbers
    ]
    with files.locked(folder):
        _check_folder(folder, config, networks)  # another process may have been faster
        kept = rows.read(folder)
        missing = [training for training in planned if training.name not in kept and not _is_finished(training)]
        on_begin(len(missing), len(planned))
        for training in planned:
            if training.name not in kept:
                if not _is_finished(training):
                    _train(training, kept, report, callbacks, on_check)
                its = training.network, training.variant, training.seed
                kept[training.name] = rows.of_folder(training.folder, *its, training.config.recipe)
                rows.write(folder, kept.values())
            on_training(kept[training.name])
        trainings = [kept[training.name] for training in planned]
        study = Study(folder, config, tuple(networks), chosen, numbers, trainings)
        findings.write(study)
        return study


def _is_finished(training: Planned) -> bool:
    return (training.folder / runs.RESULTS).is_file()


def _usual(known: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Returns the variants that are compared by default."""
    return [variant for variant in known if variant != FALLING]


def _networks(
    config: TrainConfig,
    architectures: Mapping[str, str | Architecture],
    initializers: Sequence[str] | Mapping[str, Initializers] | None,
) -> dict[str, TrainConfig]:
    """Returns by the names of the networks in the study what their trainings share."""
    its = {name: replace(config, architecture=network) for name, network in architectures.items()}
    if initializers is None:
        return its
    if not isinstance(initializers, Mapping):
        names = list(initializers)
        if not names or any(name not in list(INITIALIZERS) or names.count(name) > 1 for name in names):
            raise InputError(
                f"`initializers` must be among {', '.join(INITIALIZERS)}, at least one and each once. "
                f"Received: initializers={shown(names)}"
            )
        initializers = {name: INITIALIZERS[name] for name in names}
    of_recipe = config.recipe.kernel_initializer, config.recipe.bias_initializer
    if of_recipe != (None, None):
        raise InputError(
            "A study compares `initializers`, or takes `kernel_initializer` and `bias_initializer` for all: leave out "
            f"one of them. Received: {shown(of_recipe)}"
        )
    for name, pair in initializers.items():
        argument("initializers", name, records.NAME)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(
                "`initializers` by name must be pairs of a `kernel_initializer` and a `bias_initializer`. "
                f"Received: {name}={shown(pair)}"
            )
    return {
        f"{network}-{name}": _beginning(its[network], pair) for network in its for name, pair in initializers.items()
    }


def _beginning(config: TrainConfig, initializers: Initializers) -> TrainConfig:
    """Returns a configuration whose weights begin with a pair of initializers."""
    kernel, bias = initializers
    return replace(config, recipe=replace(config.recipe, kernel_initializer=kernel, bias_initializer=bias))


def _check(
    config: TrainConfig, seeds: int, networks: Sequence[Architecture], variants: Sequence[str] | None
) -> dict[str, tuple[str, ...]]:
    """Returns the variants that there are of all networks."""
    if not is_whole(seeds, 1):
        raise InputError(f"`seeds` must be a whole number of at least 1. Received: seeds={seeds!r}")
    names = [record.name for record in networks]
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"`architectures` must hold at least one network, and each once. Received: architectures={names}"
        )
    if len({record.heads for record in networks}) > 1 or not networks[0].auxiliary_heads:
        received = "; ".join(f"{record.name}: {', '.join(record.heads)}" for record in networks)
        raise InputError(f"A study of the heads needs networks with the same auxiliary heads. Received: {received}")
    known = variants_of(networks[0]) | {FALLING: networks[0].heads[1:]}
    variants = list(_usual(known) if variants is None else variants)
    if not variants or any(variant not in list(known) or variants.count(variant) > 1 for variant in variants):
        raise InputError(
            f"`variants` must be among {', '.join(known)}, at least one and each once. Received: variants={variants!r}"
        )
    if FALLING in variants and config.recipe.aux_loss_schedule != "constant":
        raise InputError(
            f'The variant "{FALLING}" is compared with weights that stay: leave out `aux_loss_schedule`. '
            f"Received: aux_loss_schedule={config.recipe.aux_loss_schedule!r}"
        )
    if not config.aux_heads:
        raise InputError("A study of the heads leaves heads out by itself: leave out `aux_heads=False`.")
    weights = config.recipe.loss_weights
    if weights is not None and not all(weights):
        raise InputError(
            "`loss_weights` must give each head a weight above 0; a study sets it to 0 for heads that do not learn. "
            f"Received: loss_weights={weights}"
        )
    if config.patience is not None or config.max_minutes is not None:
        raise InputError(
            "A study compares trainings of the same length: leave out `patience` and `max_minutes`. "
            f"Received: patience={config.patience}, max_minutes={config.max_minutes}"
        )
    if config.strategy == "multi-worker":
        raise InputError(f'A study trains on one machine: use "one" or "mirrored". Received: {config.strategy!r}')
    return known


def _check_folder(folder: Path, config: TrainConfig, networks: Mapping[str, TrainConfig]) -> None:
    """Refuses a folder that holds something else than trainings of this configuration."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"A study needs a folder of its own, and this is a file. Received: {folder}")
    configurations = sorted(folder.glob(f"*/*/seed-*/{runs.CONFIG}"))
    is_one = configurations or (folder / rows.ROWS).is_file()
    if not is_one and any(path.is_file() and path.name != files.LOCK for path in folder.rglob("*")):
        raise InputError(f"A study needs an empty folder, and this one holds something else. Received: {folder}")
    found = [(path.parts[-4], path.parts[-3], TrainConfig.from_file(path)) for path in configurations]
    for run in rows.read(folder).values():
        was = TrainConfig.of(**run.options)
        if Path(was.dataset).name == Path(config.dataset).name:  # elsewhere on this machine: the images will tell
            was = replace(was, dataset=config.dataset)
        found.append((run.network, run.variant, was))
    for network, variant, was in found:
        its = networks.get(network)
        if its is None:
            its = replace(config, architecture=was.architecture)
            if network != was.resolved_architecture.name:  # of another initialisation, which is not asked for now
                its = _beginning(its, (was.recipe.kernel_initializer, was.recipe.bias_initializer))
        different = changes(was, _config_of(its, variant, was.seed))
        if different:
            raise InputError(
                f"{folder} holds another study: {different}. Go on with the configuration that began it, or choose "
                "another folder with `--out`."
            )


def _config_of(config: TrainConfig, variant: str, seed: int) -> TrainConfig:
    """Returns the configuration of one training of a study, of which `config` has the network."""
    record = config.resolved_architecture
    learning = (MAIN, *(record.heads[1:] if variant == FALLING else variants_of(record).get(variant, ())))
    weights = zip(record.heads, config.recipe.loss_weights or record.loss_weights)
    schedule = "linear" if variant == FALLING else config.recipe.aux_loss_schedule
    recipe = replace(
        config.recipe,
        loss_weights=tuple(w if head in learning else 0.0 for head, w in weights),
        aux_loss_schedule=schedule,
    )
    return replace(
        config,
        seed=seed,
        recipe=recipe,
        gradient_flow=config.gradient_flow or 1,
        strategy="mirrored" if config.strategy == "mirrored" else "one",
        # What is left out must be known before the first training, or the next ones would see other images.
        full_check=config.full_check or config.skip_bad_images,
    )


def _train(
    training: Planned,
    kept: Mapping[str, StudyRun],
    report: Callable[[str], None],
    callbacks: Sequence[keras.callbacks.Callback],
    on_check: Callable[[int, int], None] | None,
) -> None:
    """Trains one network, or goes on where its training was interrupted."""
    steps = StepLosses(training.folder / STEPS)

    def on_data(data: Data, progress: Progress) -> None:
        ours, seen = fingerprint(data.record), {run.name: run.data for run in kept.values()}
        for path in training.folder.parents[2].glob(f"*/*/seed-*/{runs.DATA}"):
            was = None if path.parent == training.folder else runs.data_record(path.parent)
            seen[str(path.parent)] = None if was is None else fingerprint(was)
        for where, theirs in seen.items():
            if theirs not in (None, ours):
                raise InputError(
                    f"All trainings of a study must see the same images, and these are others than those of "
                    f"{where}. Bring them back as they were, or choose another folder with `--out`."
                )
        if data.validation is None:
            raise InputError("A study needs validation images: use `--validation-fraction`. Received: none")
        steps.go_on_after(progress.epoch * data.steps_per_epoch + progress.step)

    try:
        train(
            training.config,
            training.folder,
            verbose=0,
            on_data=on_data,
            report=lambda message: report(f"{training.name}: {message}"),
            callbacks=[steps, *callbacks],
            on_check=on_check,
        )
    except diagnosis.NotFiniteError as error:
        raise diagnosis.NotFiniteError(f"{training.name}: {error}") from error
    gc.collect()  # a model is full of circles, and the next one is to take its memory
