"""`keras-inception train`."""

import argparse
import shlex
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import Field, replace
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

import docstring_parser

from keras_inception.architectures import RESIZES
from keras_inception.cli import dataset
from keras_inception.cli.console import CheckProgress, command, files_of
from keras_inception.errors import InputError, counted
from keras_inception.recipes import AUX_LOSS_SCHEDULES, OPTIMIZERS, QUICK, RECIPES, SCHEDULES, Augmentation, Recipe
from keras_inception.training import config as configuration
from keras_inception.training.config import OF_AUGMENTATION, OF_RECIPE, OF_TRAINING, OPTIONS, TrainConfig

if TYPE_CHECKING:
    from keras_inception.data import Data
    from keras_inception.training.checkpoint import Progress
    from keras_inception.training.loop import Run

CHOICES = {
    "recipe": tuple(RECIPES),
    "resize": RESIZES,
    "class_weight": (*configuration.CLASS_WEIGHTS, "off"),
    "cache": (*configuration.CACHES, "off"),
    "precision": configuration.PRECISIONS,
    "strategy": configuration.STRATEGIES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "aux_loss_schedule": AUX_LOSS_SCHEDULES,
}
METAVARS = {"dataset": "NAME|FOLDER|TABLE", "architecture": "NAME", "weights": "NAME|FILE", "freeze_through": "ROW",
            "heads": "ROW", "kernel_initializer": "NAME", "bias_initializer": "NAME"}  # fmt: skip

# What may be another where a run goes on.
FREE = {"strategy", "epochs", "cache", "patience", "max_minutes", "skip_bad_images", "full_check"}

# How many times as many training images as the smallest class the largest has where the counts are shown (ours).
UNBALANCED = 2

# What the help begins with, and how it groups the rest. An option that stands in no group is added to the last one.
COMMON = ("dataset", "architecture", "weights", "recipe", "epochs", "batch_size", "learning_rate", "image_size")
GROUPS: dict[str, Iterable[str]] = {
    "network": ("width", "heads", "aux_heads", "dropout", "aux_dropout", "freeze_through"),
    "end and weights of the training": ("patience", "max_minutes", "class_weight"),
    "images": (
        "train_image_size",
        "final_epochs",
        "resize",
        "validation_fraction",
        "test_fraction",
        "split_seed",
        "skip_bad_images",
        "full_check",
        "cache",
    ),
    "optimization (defaults of the recipe quick; of others where they differ)": OF_RECIPE,
    "augmentation (defaults of the recipe quick; of others where they differ)": OF_AUGMENTATION,
}


def add(commands: Any) -> None:
    """Adds the command and its options to the parser."""
    parser = command(
        commands,
        "train",
        run,
        "Train a network on images and write a run folder. Without options: the paper's network on handwritten digits.",
        usage="%(prog)s [OPTION ...]",
    )
    common = parser.add_argument_group("common options")
    add_fields(common, COMMON)
    add_option = partial(common.add_argument, default=argparse.SUPPRESS)
    add_option("--out", metavar="RUN",
               help="where to write, or an unfinished run to go on with (default: runs/DATASET-ARCHITECTURE, with a "
               "number where that exists)")  # fmt: skip
    add_option(
        "--resume", metavar="RUN", help="go on with a run, as it was configured; a finished one with more --epochs"
    )
    add_option = partial(parser.add_argument_group("run folder").add_argument, default=argparse.SUPPRESS)
    add_option("--overwrite", action="store_true", help="replace the run in that folder")
    add_option("--config", metavar="FILE", help="TOML, YAML or JSON file of training options; what is given here wins")
    add_groups(parser, without=COMMON)


def add_fields(group: Any, names: Iterable[str]) -> None:
    """Adds some options of a training; the docstrings are their help."""
    texts = {
        item.arg_name: item.description
        for record in (TrainConfig, Recipe, Augmentation)
        for item in docstring_parser.parse(record.__doc__ or "").params
    }
    for name in names:
        _add_field(group, OPTIONS[name], texts[name] or "")


def add_groups(parser: argparse.ArgumentParser, without: Container[str]) -> None:
    """Adds all options of a training in groups, but for those named in `without`."""
    others = [name for name in OF_TRAINING if not any(name in names for names in GROUPS.values())]
    for title, names in {**GROUPS, "machine, repeatability and logs": others}.items():
        add_fields(parser.add_argument_group(title), [name for name in names if name not in without])


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of a training that were given."""
    return {name: value for name, value in vars(arguments).items() if name in OPTIONS}


def merged_config(options: Mapping[str, Any], path: str | None = None) -> TrainConfig:
    """Returns the configuration that options make, which win over those of a file."""
    values = configuration.read(path) if path else {}
    if "recipe" in options and values.get("recipe", options["recipe"]) != options["recipe"]:
        raise InputError(
            f"{path} is of the recipe {values['recipe']!r}, and its options would win over --recipe: remove them from "
            "the file, or leave out --recipe"
        )
    options = configuration.normalised(options)
    return TrainConfig.from_file(path, **options) if path else TrainConfig.of(**options)


def _add_field(group: Any, field: Field[Any], text: str) -> None:
    """Adds the option of a field; without a default, so that those of the file and of the recipe hold."""
    text = " ".join(text.replace("`", "").replace("%", "%%").split())
    text = text.split(" In Python ")[0].removeprefix("Whether to ").removesuffix(".")
    if text[1].islower():
        text = text[0].lower() + text[1:]
    if field.name in configuration.OFF:
        text += '; "off" leaves it out'
    default = _defaults(field)
    if default is not None and "by default" not in text:
        text += f" (default: {default})"
    options = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
    kind: Any = field.type
    metavar: str | None
    if isinstance(kind, UnionType):
        kind = next(member for member in get_args(kind) if member is not NoneType)
    if kind is bool:
        group.add_argument(option(field.name), action=argparse.BooleanOptionalAction, **options)
    elif get_origin(kind) is tuple:
        kind, metavar = (str, METAVARS[field.name]) if get_args(kind)[0] is str else (_OrOff(_number), "X")
        group.add_argument(option(field.name), nargs="+", type=kind, metavar=metavar, **options)
    elif field.name in CHOICES:
        group.add_argument(option(field.name), choices=CHOICES[field.name], metavar="NAME", **options)
    else:
        metavar = METAVARS.get(field.name) or {int: "N", float: "X"}.get(kind)
        group.add_argument(option(field.name), type=_OrOff(kind), metavar=metavar, **options)


def option(name: str) -> str:
    """Returns how a field is called on the command line."""
    return f"--{name.replace('_', '-')}"


def _defaults(field: Field[Any]) -> str | None:
    """Returns the default of a field as one would type it, and those of other recipes where they differ."""
    values = {QUICK.name: QUICK.name if field.name == "recipe" else field.default}
    if field.name in OF_RECIPE:
        values = {name: getattr(recipe, field.name) for name, recipe in RECIPES.items()}
    elif field.name in OF_AUGMENTATION:
        values = {name: getattr(recipe.augmentation, field.name) for name, recipe in RECIPES.items()}
    first, *others = (_typed(field.name, value) for value in values.values())
    if first is None:
        return None
    differing = [f"{name} {text}" for name, text in zip(RECIPES, (first, *others)) if text != first]
    return "; ".join([first, ", ".join(differing)] if differing else [first])


def _typed(name: str, value: Any) -> str | None:
    """Returns a value as one would type it; None if it cannot be typed, and the text says what it means."""
    if isinstance(value, bool):
        return option(name if value else f"no_{name}")
    if value is None:
        return "off" if name in configuration.OFF and configuration.OFF[name] is None else None
    if isinstance(value, tuple):
        return " ".join(f"{item:.4g}" for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _OrOff:
    """Reads a value of a kind, or "off"; argparse names it in its error."""

    def __init__(self, kind: Callable[[str], Any]):
        self.kind = kind
        self.__name__ = getattr(kind, "__name__", "value").strip("_")

    def __call__(self, text: str) -> Any:
        return text if text == "off" else self.kind(text)


def _number(text: str) -> float:
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from keras_inception.cli.progress import TrainingProgress
    from keras_inception.training.loop import train

    given = vars(arguments)
    config = config_of(given)
    with TrainingProgress(config.recipe.epochs) as progress:
        finished = train(
            config,
            given.get("resume", given.get("out")),
            resume="resume" in given,
            overwrite="overwrite" in given,
            verbose=0,
            callbacks=[progress],
            on_check=CheckProgress(),
            on_data=partial(_say_data, config),
            report=lambda message: print(f"warning: {message}", file=sys.stderr),
        )
    if finished.chief:
        if finished.epochs < config.recipe.epochs:
            planned = counted(config.recipe.epochs, "epoch")
            print(f"ended after {finished.epochs} of {planned}, as --patience or --max-minutes says")
        _say_results(finished)
    return 0


def config_of(given: Mapping[str, Any]) -> TrainConfig:
    """Returns the configuration that arguments of the command make, or that of the run to go on with."""
    options = {name: value for name, value in given.items() if name in OPTIONS}
    if "resume" not in given:
        return merged_config(options, given.get("config"))
    from keras_inception.training import runs

    others = [name for name in given if name in {*OPTIONS, "out", "overwrite", "config"} - FREE]
    if others:
        named = ", ".join(map(option, others))
        raise InputError(f"--resume takes everything from the run's own configuration: leave out {named}")
    config, options = runs.begun(given["resume"]), configuration.normalised(options)
    recipe = replace(config.recipe, epochs=options.get("epochs", config.recipe.epochs))
    return replace(config, **{name: options[name] for name in FREE & options.keys() - {"epochs"}}, recipe=recipe)


def _say_data(config: TrainConfig, data: "Data", progress: "Progress") -> None:
    from keras_inception.training import precision

    sizes = ", ".join(f"{data.sizes.get(split, 0):,} {name}" for split, name in
                      (("train", "training"), ("validation", "validation"), ("test", "test")))  # fmt: skip
    print(f"{config.dataset}: {sizes} images of {len(data.class_names)} classes")
    if config.class_weight or Path(config.dataset).exists():
        _say_counts(config, data)
    size, side, network = data.image_shape[0], data.original_side, config.resolved_architecture.name
    if side < size:
        print(f"images of {side} pixels are scaled up to {size}x{size}, a size that {network} takes")
    else:
        print(f"images are scaled to {size}x{size} for {network}")
    first, smaller = config.whole_from, config.train_image_size
    if first == 0:
        print(f"training images are shown whole, in {size}x{size}: all epochs are final ones")
    elif smaller:
        print(f"training images are scaled to {smaller}x{smaller}{f' in epochs 1 to {first}' if first else ''}")
    for line in dataset.left_out(data):
        print(line)
    if data.cached_bytes:
        where = "in memory" if config.cache == "memory" else "in the run's folder until its end"
        print(f"decoded images: about {data.cached_bytes / 2**30:,.2f} GiB, kept {where}")
    print("precision: {}, {}".format(*precision.resolve(config.precision)))
    if progress.epoch or progress.step:
        print(f"going on after {progress}")


def _say_counts(config: TrainConfig, data: "Data") -> None:
    """Prints the training images of each class where some class has few, or the losses are weighted."""
    counts = sorted(zip(data.class_counts(), data.class_names), reverse=True)
    if not config.class_weight and counts[0][0] < UNBALANCED * counts[-1][0]:
        return
    shown = counts if len(counts) <= 10 else [*counts[:5], (0, "..."), *counts[-5:]]
    listed = ", ".join(f"{name} {count:,}" if name != "..." else name for count, name in shown)
    weighted = "weighted to count alike" if config.class_weight else "--class-weight balanced lets all count alike"
    print(f"training images by class: {listed} ({weighted})")


def _say_results(finished: "Run") -> None:
    if finished.results:
        accuracies = ", ".join(f"{head} {metrics['accuracy']:.2%}" for head, metrics in finished.results.items())
        print(f"test accuracy: {accuracies} ({finished.sizes['test']} images)")
    else:
        print("no test accuracy: there are no test images (`--test-fraction`, or a folder called test)")
    folder = shlex.quote(str(finished.folder))
    print(f"wrote {finished.folder}: {files_of(finished.folder)}")
    print(f"next:  keras-inception predict {folder} {shlex.quote(str(finished.folder / 'samples'))}")
