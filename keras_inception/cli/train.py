"""`keras-inception train`."""

import argparse
import dataclasses
import shlex
import sys
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import get_args, get_origin

import docstring_parser

from keras_inception.cli.console import PREEMPTED, Refused, command
from keras_inception.recipes.recipe import OPTIMIZERS, RECIPES, SCHEDULES, Augmentation, Recipe
from keras_inception.training.config import PRECISIONS, STRATEGIES, TrainConfig, may_be_off, normalised, read

CHOICES = {
    "recipe": list(RECIPES),
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}


def add(commands):
    """Adds the command and its options to the parser."""
    parser = command(
        commands,
        "train",
        run,
        "Train a network on images and write a run folder. Without options: the paper's network on handwritten digits.",
    )
    folder = parser.add_argument_group("the run's folder")
    folder = partial(folder.add_argument, default=argparse.SUPPRESS)
    folder("--out", metavar="RUN", help="where to write (runs/DATASET-ARCHITECTURE); an unfinished run goes on there")
    folder("--overwrite", action="store_true", help="replace the run in that folder")
    folder("--resume", metavar="RUN", help="go on with a run that was killed, as it was configured")
    folder("--config", metavar="FILE", help="TOML, YAML or JSON file of the options below; options given here win")
    add_fields(parser)


def add_fields(parser, without=()):
    """Adds an option for each field of a `TrainConfig`, but for those named in `without`."""
    for record, inherited, title in (
        (TrainConfig, Recipe, "what is trained"),
        (Recipe, Augmentation, "how the loss is brought down (the recipe says, where no option does)"),
        (Augmentation, object, "what happens to the training images (the recipe says, where no option does)"),
    ):
        group = parser.add_argument_group(title)
        texts = {item.arg_name: item.description for item in docstring_parser.parse(record.__doc__).params}
        for field in dataclasses.fields(record):
            if field.name not in (*without, *getattr(inherited, "__dataclass_fields__", ())):
                _add_field(group, field, texts[field.name])


def _add_field(group, field, text):
    """Adds the option of a field; without a default, so that those of the file and of the recipe hold."""
    text = " ".join(text.replace("`", "").replace("%", "%%").split())
    if may_be_off(field):
        text += ' "off" for None.'
    text += f" [{_defaults(field)}]"
    name = f"--{field.name.replace('_', '-')}"
    options = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
    kind = field.type
    if isinstance(kind, UnionType):
        kind = next(member for member in get_args(kind) if member is not NoneType)
    if kind is bool:
        group.add_argument(name, action=argparse.BooleanOptionalAction, **options)
    elif field.name in CHOICES:
        group.add_argument(name, choices=CHOICES[field.name], **options)
    elif get_origin(kind) is tuple:
        group.add_argument(name, nargs="+", type=_or_off(_number), metavar="X", **options)
    else:
        metavar = {int: "N", float: "X"}.get(kind, field.name.split("_")[-1].upper())
        group.add_argument(name, type=_or_off(kind), metavar=metavar, **options)


def _defaults(field):
    """Returns the default of a field, or those of the recipes where they differ, as a text."""
    recipes = RECIPES if field.name in Recipe.__dataclass_fields__ else {}
    values = {name: getattr(recipe, field.name) for name, recipe in recipes.items()} or {"": field.default}
    if len(set(values.values())) == 1:
        return _shown(next(iter(values.values())))
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value):
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    if value is None or isinstance(value, bool):
        return {None: "off", True: "yes", False: "no"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _or_off(kind):
    """Returns a function that reads a value of a kind, or "off"."""

    def read_value(text):
        return text if text == "off" else kind(text)

    read_value.__name__ = getattr(kind, "__name__", "value").strip("_")  # argparse names it in its error
    return read_value


def _number(text):
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def run(arguments):
    """Runs the command; returns its exit code."""
    from keras_inception.training.diagnosis import NotFiniteError
    from keras_inception.training.distribute import WorkerLostError
    from keras_inception.training.loop import PreemptedError, train

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "run")}
    folder = {name: options.pop(name) for name in ("out", "overwrite", "resume") if name in options}
    config = _config(options, folder)
    try:
        finished = train(
            config,
            folder.get("resume") or folder.get("out"),
            resume="resume" in folder,
            overwrite=folder.get("overwrite", False),
            on_data=partial(_say_data, config),
            report=lambda message: print(f"\nwarning: {message}", file=sys.stderr),
        )
    except PreemptedError as error:
        print(f"\nkeras-inception train: {error}", file=sys.stderr)
        return PREEMPTED
    except (NotFiniteError, WorkerLostError) as error:
        raise Refused(error) from error
    if finished.chief:
        _say_results(finished)
    return 0


def _config(options, folder):
    """Returns the configuration that options, and the file that they name, make."""
    from keras_inception.training.runs import CONFIG

    if "resume" in folder:
        others = [f"--{name.replace('_', '-')}" for name in {**options, **folder} if name not in ("resume", "strategy")]
        if others:
            raise Refused(f"--resume takes everything from the run's own configuration: leave out {', '.join(others)}")
        path = Path(folder["resume"]) / CONFIG
        if not path.is_file():
            raise Refused(
                f"there is no run to go on with: {folder['resume']} has no {CONFIG}, so nothing was trained yet; "
                "start it with the options of the training"
            )
        return TrainConfig(**{**read(path), **options})
    return configuration(options)


def configuration(options):
    """Returns the `TrainConfig` that options, and the file that the option `config` names, make."""
    path = options.pop("config", None)
    values = read(path) if path else {}
    if "recipe" in options and values.get("recipe", options["recipe"]) != options["recipe"]:
        raise Refused(
            f"{path} is of the recipe {values['recipe']!r}, and its fields would win over --recipe: remove them from "
            "the file, or leave out --recipe"
        )
    return TrainConfig(**{**values, **normalised(options)})


def _say_data(config, dataset, progress):
    from keras_inception.training import precision

    sizes = ", ".join(f"{dataset.sizes.get(split, 0):,} {name}" for split, name in
                      (("train", "training"), ("validation", "validation"), ("test", "test")))  # fmt: skip
    print(f"{config.dataset}: {sizes} images of {len(dataset.class_names)} classes")
    size, side = dataset.image_shape[0], dataset.original_side
    if side < size:
        print(f"images of {side} pixels are scaled up to {size}x{size}, a size that {config.architecture} takes")
    else:
        print(f"images are scaled to {size}x{size} for {config.architecture}")
    if dataset.skipped:
        print(f"left out {len(dataset.skipped)} unreadable files: {', '.join(dataset.skipped[:5])}")
    print("precision: {}, {}".format(*precision.resolve(config.precision)))
    if progress.epoch or progress.step:
        steps = f" and {progress.step} steps" if progress.step else ""
        print(f"going on after {progress.epoch} epochs{steps}")


def _say_results(finished):
    if finished.results:
        accuracies = ", ".join(f"{head} {metrics['accuracy']:.2%}" for head, metrics in finished.results.items())
        print(f"\ntest accuracy: {accuracies} ({finished.sizes['test']} images)")
    else:
        print("\nno test accuracy: there are no test images (`--test-fraction`, or a folder called test)")
    folder = shlex.quote(str(finished.folder))
    print(f"wrote {finished.folder}: {', '.join(sorted(path.name for path in finished.folder.iterdir()))}")
    print(f"next:  keras-inception predict {folder} {shlex.quote(str(finished.folder / 'samples'))}")
