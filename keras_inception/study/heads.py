"""What the auxiliary heads do: the same network trained with no, one and both of them, compared seed by seed.

study.csv     each training: accuracies at the end, the step at which the main head left chance, processor seconds
gradients.csv the norm of the gradient that reached each row of Table 1 from each head's loss, along each training
study.md      the comparison in tables and words, with its definitions and its budget
accuracy.png, leaving.png, final.png, gradients.png
ARCHITECTURE/VARIANT/seed-N/  the run folder of each training, with the losses of each step in steps.csv

In every training the network has all its heads; a head that does not learn has a loss weight of 0. No gradient comes
from it, so that the trunk learns as if it were not there, and the trainings of a seed begin with the same weights, see
the same batches and draw the same dropout.

`trainings` reads what the trainings left, `steps` finds where a head left chance, `comparison` pairs the seeds.
"""

import gc
import statistics
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from keras_inception.architectures import get as architecture_of
from keras_inception.errors import InputError
from keras_inception.recipes.rules import is_whole
from keras_inception.study import findings
from keras_inception.study.comparison import Comparison, Difference, compare, paired
from keras_inception.study.step_losses import StepLosses, left_at
from keras_inception.study.trainings import HEADS, STEPS, VARIANTS, Training, loss_weights
from keras_inception.training import diagnosis, runs
from keras_inception.training.config import TrainConfig, changes
from keras_inception.training.loop import train

__all__ = ["VARIANTS", "Comparison", "Difference", "StepLosses", "Study", "Training", "heads", "left_at", "paired"]

ARCHITECTURES = ("googlenet", "googlenet_bn")


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        folder: Where it was written.
        config: The `TrainConfig` that the trainings share.
        architectures: The networks.
        variants: The heads that learned: "none", "aux1", "aux2", "both".
        seeds: The seeds.
        trainings: A `Training` for each of their combinations, in this order.
    """

    folder: Path
    config: TrainConfig
    architectures: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    trainings: list[Training]

    @cached_property
    def chance(self):
        """The loss of the best constant answer: ln(classes) for even classes."""
        # One of those of the trainings: a training that was interrupted counted its labels from there on.
        return statistics.median_low(training.chance for training in self.trainings)

    @cached_property
    def comparisons(self):
        """A `Comparison` of each architecture and variant."""
        return compare(self.trainings, self.chance)

    @property
    def images(self):
        """The images of the final accuracy: "test", or "validation" where there are no others."""
        return "validation" if self.trainings[0].test_accuracy is None else "test"


def heads(
    config=None,
    out=None,
    *,
    seeds=3,
    architectures=ARCHITECTURES,
    variants=tuple(VARIANTS),
    on_begin=lambda missing, count: None,
    on_training=lambda training: None,
    report=diagnosis.warn,
):
    """Trains networks with no, one and both auxiliary heads, and writes what that changed.

    The same call goes on after an interruption: finished trainings are kept, the one that was under way is resumed.
    More seeds, architectures or variants may be asked for later. It trains on one machine, one training at a time.

    Args:
        config: A `TrainConfig` for all trainings; by default the recipe "quick" on handwritten digits. Its
            `architecture` is not read, `seed` is the first seed, and the loss weights of aux1 and aux2 are those of a
            head that learns. `gradient_flow` is 1 where it is 0. On several devices it trains where `strategy` is
            "mirrored".
        out: The study's folder; by default `studies/DATASET-heads`.
        seeds: How many trainings of each network and variant, at least 1; two are needed for an interval.
        architectures: Names of networks with auxiliary heads, see `architectures`.
        variants: Some of "none", "aux1", "aux2" and "both"; differences are to "none".
        on_begin: Called with the number of trainings that are missing and the number of all.
        on_training: Called with each `Training` that is there, in order.
        report: Called with each message about what goes wrong in a training, see `diagnosis`.

    Returns:
        A `Study`.

    Raises:
        ValueError: An argument, the configuration, the data or the folder is not fit for use.
        OSError: The folder cannot be written; the last checkpoint is whole.
        diagnosis.NotFiniteError: A loss became NaN or infinite.
        training.PreemptedError: SIGTERM came; the training that was under way was saved.
    """
    config = TrainConfig() if config is None else config
    architectures, variants = tuple(architectures), tuple(variants)
    _check(config, seeds, architectures, variants)
    folder = Path(out) if out else Path("studies") / f"{Path(config.dataset).name}-heads"
    _check_folder(folder, config)
    numbers = tuple(range(config.seed, config.seed + seeds))
    trainings = [
        Training(architecture, variant, seed, folder / architecture / variant / f"seed-{seed}")
        for architecture in architectures
        for variant in variants
        for seed in numbers
    ]
    on_begin(sum(not _is_finished(training) for training in trainings), len(trainings))
    for training in trainings:
        if not _is_finished(training):
            _train(training, config, report)
        on_training(training)
    study = Study(folder, config, architectures, variants, numbers, trainings)
    findings.write(study)
    return study


def _check(config, seeds, architectures, variants):
    if not is_whole(seeds, 1):
        raise InputError(f"`seeds` must be a whole number of at least 1. Received: seeds={seeds!r}")
    for name, values in (("architectures", architectures), ("variants", variants)):
        if not values or len(set(values)) < len(values):
            raise InputError(f"`{name}` must hold at least one name, and each once. Received: {name}={values!r}")
    if not set(variants) <= set(VARIANTS):
        raise InputError(f"`variants` must be among {', '.join(VARIANTS)}. Received: variants={variants!r}")
    for name in architectures:
        if tuple(head.name for head in architecture_of(name).auxiliary_heads) != HEADS:
            raise InputError(
                f"A study of the heads needs a network with {' and '.join(HEADS)}, such as {ARCHITECTURES[0]!r}. "
                f"Received: architecture={name!r}"
            )
    if not config.aux_heads:
        raise InputError("A study of the heads leaves heads out by itself: leave out `aux_heads=False`.")
    if len(config.loss_weights) != 1 + len(HEADS) or not all(config.loss_weights):
        raise InputError(
            "`loss_weights` must give main, aux1 and aux2 a weight above 0; a study sets it to 0 for the heads that do "
            f"not learn. Received: loss_weights={config.loss_weights}"
        )
    if config.strategy == "multi-worker":
        raise InputError(f'A study trains on one machine: use "one" or "mirrored". Received: {config.strategy!r}')


def _check_folder(folder, config):
    """Refuses a folder that holds something else than trainings of this configuration."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"A study needs a folder of its own, and this is a file. Received: {folder}")
    configurations = sorted(path for name in VARIANTS for path in folder.glob(f"*/{name}/seed-*/{runs.CONFIG}"))
    if not configurations and any(path.is_file() for path in folder.rglob("*")):
        raise InputError(f"A study needs an empty folder, and this one holds something else. Received: {folder}")
    for path in configurations:
        was = TrainConfig.from_file(path)
        different = changes(was, _config_of(config, was.architecture, path.parts[-3], was.seed))
        if different:
            raise InputError(
                f"{folder} holds another study: {different}. Go on with the configuration that began it, or choose "
                "another folder with `--out`."
            )


def _config_of(config, architecture, variant, seed):
    """Returns the configuration of one training of a study."""
    return replace(
        config,
        architecture=architecture,
        seed=seed,
        loss_weights=loss_weights(config.loss_weights, variant),
        gradient_flow=config.gradient_flow or 1,
        strategy="mirrored" if config.strategy == "mirrored" else "one",
    )


def _is_finished(training):
    return (training.folder / runs.RESULTS).is_file()


def _train(training, config, report):
    """Trains one network, or goes on where its training was interrupted."""
    steps = StepLosses(training.folder / STEPS)

    def on_data(data, progress):
        if data.validation is None:
            raise InputError("A study needs validation images: use `--validation-fraction`. Received: none")
        steps.go_on_after(progress.epoch * data.steps_per_epoch + progress.step)

    try:
        train(
            _config_of(config, training.architecture, training.variant, training.seed),
            training.folder,
            verbose=0,
            on_data=on_data,
            report=lambda message: report(f"{training.name}: {message}"),
            callbacks=[steps],
        )
    except diagnosis.NotFiniteError as error:
        raise diagnosis.NotFiniteError(f"{training.name}: {error}") from error
    gc.collect()  # a model is full of circles, and the next one is to take its memory
