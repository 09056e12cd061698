"""What decides a training: `TrainConfig`, and its flat form, the options of a command and of a file.

Nothing heavy is imported before a configuration is made, so that `--help` answers at once.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from keras_inception import architectures, recipes
from keras_inception.architectures import Architecture
from keras_inception.configurations import read_configuration
from keras_inception.errors import InputError, did_you_mean, shown
from keras_inception.recipes import Augmentation, Recipe
from keras_inception.rules import (
    ABOVE_0,
    COUNT,
    MAYBE_SHARE,
    MAYBE_TEXT,
    SEED,
    SHARE,
    SWITCH,
    TEXT,
    WHOLE,
    Rule,
    check,
    check_value,
    is_number,
    is_whole,
    maybe,
    one_of,
    rule,
)
from keras_inception.types import PathLike

STRATEGIES: tuple[str, ...] = ("auto", "one", "mirrored", "multi-worker")
CLASS_WEIGHTS: tuple[str, ...] = ("balanced",)
CACHES: tuple[str, ...] = ("memory", "disk")
PRECISIONS: tuple[str, ...] = ("auto", "float32", "mixed_bfloat16", "mixed_float16")

NONE_OR_WIDTH: Rule = rule("a number from 0.05 to 10", lambda value: value is None or is_number(value, 0.05, 10))


# A mirrored digit or letter is another one, or none.
NOT_TO_BE_MIRRORED: tuple[str, ...] = ("digits", "mnist", "emnist", "kmnist", "svhn_cropped", "omniglot")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that decides a training: what is not given follows from what is, after `dataclasses.replace` too.

    Attributes:
        dataset: "digits", a folder of class folders, a CSV or Parquet file with the columns path, label and perhaps
            split, or the name of a TFDS dataset.
        architecture: The network: "googlenet", "googlenet_bn", "googlenet_small", "inception_v1_slim" or
            "inception_v1_torchvision"; by default that of the run in `weights`, or "googlenet". In Python also an
            `Architecture`.
        width: How many times as wide the network's trunk is, from 0.05 to 10; by default as wide as that of the run in
            `weights`, or 1.
        recipe: Values of all options of optimization and augmentation: "quick", "paper", "bvlc" or "modern". In Python
            also a `Recipe`; it becomes one.
        augmentation: What happens to the training images; by default what the recipe does, but digits and letters are
            not mirrored; see `resolved_augmentation`.
        heads: The rows that auxiliary heads read, such as "inception_3b"; by default the architecture's own, in the
            paper inception_4a and inception_4d.
        aux_heads: Whether to train with the auxiliary heads.
        image_size: Height and width of the network's input in pixels; by default that of the run in `weights`, or
            chosen from the images.
        train_image_size: Height and width of the training images in pixels, as large as the network's layers and heads
            need. Where they are smaller than its input, an epoch takes less time, and random crops, which show larger
            objects than whole images do, show them about as large as validation does (Touvron et al., Fixing the
            train-test resolution discrepancy, 2019, arXiv:1906.06423). By default those of the network's input.
        final_epochs: The last so many epochs show the training images as validation does, whole and as large as the
            network's input: `train_image_size`, `crop_area`, MixUp and CutMix end. Flips, shifts, rotations, zooms and
            colours go on. 0 for none.
        resize: How an image that is not square becomes one: "crop" cuts out its centre, "pad" puts black bars beside
            it, "stretch" changes its aspect ratio; the model file keeps it.
        dropout: Rate of the main head's dropout in [0, 1); by default the architecture's (paper: 0.4).
        aux_dropout: Rate of the auxiliary heads' dropout in [0, 1); by default the architecture's (paper: 0.7).
        weights: What fine-tuning begins with: "imagenet", the path of a publisher's file, or what was trained here: a
            run's folder, a `.keras` or a `.weights.h5` file; by default random numbers.
        freeze_through: The rows of the architecture up to this one do not learn, such as "inception_4e", nor with
            "main" the main head: then the auxiliary heads alone do; by default all learn.
        precision: "float32", "mixed_bfloat16", "mixed_float16", or "auto": bfloat16 where the hardware is
            faster in it (AMX, AVX512_BF16 of AMD, GPUs from Ampere on). Outputs and losses are float32 always.
        strategy: "auto", "one", "mirrored" or "multi-worker": one device, all of this machine, or the workers that
            `TF_CONFIG` or Slurm names. In Python see `distribute.get_strategy`.
        seed: Decides initial weights, dropout, the order of the images, their augmentation and, without `split_seed`,
            the splits that the source lacks; at least 0.
        split_seed: Decides the splits that the source lacks, at least 0, so that trainings of several seeds, such as
            those of an ensemble, may have one split; by default `seed`.
        deterministic: Whether TensorFlow computes the same bits in every run, which costs time; it then does so until
            the process ends.
        validation_fraction: Share of the training images for validation where the source has none, in [0, 1).
        test_fraction: Share of the training images for testing where the source has none, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files of a folder rather than refuse them.
        class_weight: "balanced" lets each class count alike in the losses, however many training images it has: an
            image weighs (images) / (classes * images of its class), as in scikit-learn. By default each image weighs 1.
        patience: The training ends after so many epochs without a better accuracy of the main head on the validation
            images; `best.keras` is of the best epoch. By default all epochs are trained.
        max_minutes: No epoch begins after so many minutes of training, those before an interruption included. By
            default there is no limit.
        cache: Where the training and validation images are kept, decoded, after the first epoch, so that later ones do
            not read and decode them again: "memory", or "disk", the run's folder, from which they are removed at the
            end. By default nowhere.
        full_check: Whether to decode each file of a folder before the training, rather than to look at its header and
            end; what is found unreadable while it trains is named, or left out, all the same.
        tensorboard: Whether to write TensorBoard logs into the run folder.
        gradient_flow: Every how many epochs to write into `gradients.csv` the norm of the gradient that reaches each
            row from each head's loss, on a batch of validation images; 0 for never.

    Raises:
        InputError: A field is out of range.
    """

    dataset: str = field(
        default="digits",
        metadata=rule("the name of a dataset or the path of a folder", TEXT["rule"][1]),
    )
    architecture: str | Architecture | None = field(
        default=None,
        metadata=maybe(
            "the name of an architecture or an `Architecture`",
            lambda value: isinstance(value, (str, Architecture, Mapping)),
        ),
    )
    width: float | None = field(default=None, metadata=NONE_OR_WIDTH)
    recipe: Recipe = field(
        default_factory=lambda: recipes.QUICK,
        metadata=rule(
            f"a `Recipe` or one of {', '.join(recipes.RECIPES)}", lambda value: isinstance(value, (str, Recipe))
        ),
    )
    augmentation: Augmentation | None = field(
        default=None, metadata=maybe("an `Augmentation`", lambda value: isinstance(value, Augmentation))
    )
    heads: tuple[str, ...] | None = field(default=None, metadata=maybe(*architectures.TAPS["rule"]))
    aux_heads: bool = field(default=True, metadata=SWITCH)
    image_size: int | None = field(
        default=None, metadata=maybe("a whole number of pixels", lambda value: is_whole(value, 1))
    )
    train_image_size: int | None = field(default=None, metadata=maybe(*COUNT["rule"]))
    final_epochs: int = field(default=0, metadata=WHOLE)
    resize: str = field(default="crop", metadata=one_of(architectures.RESIZES))
    dropout: float | None = field(default=None, metadata=MAYBE_SHARE)
    aux_dropout: float | None = field(default=None, metadata=MAYBE_SHARE)
    weights: str | None = field(default=None, metadata=MAYBE_TEXT)
    freeze_through: str | None = field(default=None, metadata=MAYBE_TEXT)
    precision: str = field(default="float32", metadata=one_of(PRECISIONS))
    strategy: str = field(default="auto", metadata=one_of(STRATEGIES))
    seed: int = field(default=0, metadata=SEED)
    split_seed: int | None = field(default=None, metadata=maybe(*SEED["rule"]))
    deterministic: bool = field(default=False, metadata=SWITCH)
    validation_fraction: float = field(default=0.1, metadata=SHARE)
    test_fraction: float = field(default=0.1, metadata=SHARE)
    skip_bad_images: bool = field(default=False, metadata=SWITCH)
    class_weight: str | None = field(default=None, metadata=one_of((None, *CLASS_WEIGHTS)))
    patience: int | None = field(default=None, metadata=maybe(*COUNT["rule"]))
    max_minutes: float | None = field(default=None, metadata=maybe(*ABOVE_0["rule"]))
    cache: str | None = field(default=None, metadata=one_of((None, *CACHES)))
    full_check: bool = field(default=False, metadata=SWITCH)
    tensorboard: bool = field(default=False, metadata=SWITCH)
    gradient_flow: int = field(default=0, metadata=WHOLE)

    def __post_init__(self) -> None:
        check(self)
        if isinstance(self.architecture, Mapping):  # from a file
            object.__setattr__(self, "architecture", Architecture.from_dict(self.architecture))
        if self.architecture is None or self.width is None:
            self._complete()
        object.__setattr__(self, "recipe", recipes.get(self.recipe))
        if self.augmentation is not None:  # is the recipe's, and stays where the dataset would forbid it to mirror
            object.__setattr__(self, "recipe", replace(self.recipe, augmentation=self.augmentation))
            if not (self.augmentation.flip and self.dataset in NOT_TO_BE_MIRRORED):
                object.__setattr__(self, "augmentation", None)
        rows = [row.name for row in self.resolved_architecture.rows]
        if self.freeze_through not in (None, *rows, "main"):
            raise InputError(
                f"`freeze_through` must be a row of {self.resolved_architecture.name!r}: {', '.join(rows)}, or 'main'. "
                f"Received: freeze_through={self.freeze_through!r}"
            )
        if self.weights == "imagenet":
            from keras_inception.weights import source_of

            source_of(self.weights, self.resolved_architecture)  # refuses one that nobody published weights for
        _ = self.loss_weights  # refuses other than one for each head
        shows = self.resolved_augmentation
        if self.final_epochs and not (self.train_image_size or shows.crop_area or shows.mixup or shows.cutmix):
            raise InputError(
                "`final_epochs` needs `train_image_size`, `crop_area`, `mixup` or `cutmix`, which it turns off: leave "
                f"it out. Received: final_epochs={self.final_epochs}"
            )
        if self.recipe.kernel_initializer or self.recipe.bias_initializer:
            from keras_inception.network.initializers import initializer

            initializer("kernel_initializer", self.recipe.kernel_initializer)  # refuses one that there is not
            initializer("bias_initializer", self.recipe.bias_initializer)

    def _complete(self) -> None:
        """Sets the architecture and the width that are not given to those of the run that `weights` names."""
        architecture, width = self.architecture, self.width
        if self.weights is not None:
            from keras_inception.network.saved import known

            if own := known(self.weights):
                architecture, width = own.taken_over(architecture, width)
        object.__setattr__(self, "architecture", "googlenet" if architecture is None else architecture)
        object.__setattr__(self, "width", 1.0 if width is None else width)

    @cached_property
    def resolved_architecture(self) -> Architecture:
        """The record of the network, at its width and with its heads."""
        architecture = architectures.get(self.architecture, self.width)
        return architecture if self.heads is None else architecture.with_heads(self.heads)

    @cached_property
    def resolved_augmentation(self) -> Augmentation:
        """What happens to the training images: `augmentation`, or what the recipe does to images of the dataset."""
        if self.augmentation is not None:
            return self.augmentation
        of_recipe = self.recipe.augmentation
        return replace(of_recipe, flip=of_recipe.flip and self.dataset not in NOT_TO_BE_MIRRORED)

    @property
    def whole_from(self) -> int | None:
        """The epoch, from 0, from which on training images are shown whole; None where they never are."""
        return max(0, self.recipe.epochs - self.final_epochs) if self.final_epochs else None

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights of the losses by head of the architecture: the recipe's, or else the architecture's own.

        Raises:
            InputError: There is not one for each head.
        """
        heads = self.resolved_architecture.heads
        weights = self.recipe.loss_weights or self.resolved_architecture.loss_weights
        if len(weights) != len(heads):
            raise InputError(
                f"`loss_weights` must hold a weight for each head of {self.resolved_architecture.name!r}: "
                f"{', '.join(heads)}. Received: loss_weights={weights}"
            )
        return dict(zip(heads, weights))

    @classmethod
    def of(cls, **options: Any) -> "TrainConfig":
        """Returns the configuration that flat options make.

        Args:
            **options: Some of `OPTIONS`; `recipe` is a name. What is given wins over the recipe, and becomes part of
                it. Lists stand for tuples.

        Raises:
            InputError: An option is unknown or out of range.
        """
        _check_names(options)
        of_recipe = {name: options.pop(name) for name in OF_RECIPE if name in options}
        augmented = {name: options.pop(name) for name in OF_AUGMENTATION if name in options}
        base, flip = options.pop("recipe", recipes.QUICK), augmented.get("flip")
        if "flip" in augmented and flip is None:  # of `to_options`: unless the dataset forbids it
            augmented["flip"] = True
        if isinstance(base, str) and base not in recipes.RECIPES and set(of_recipe) >= set(OF_RECIPE) - LATER:
            recipe = Recipe(name=base, **of_recipe)  # of a file that a recipe of the user's own was written to
        else:
            recipe = replace(recipes.get(base), **of_recipe)
        config = cls(recipe=replace(recipe, augmentation=replace(recipe.augmentation, **augmented)), **options)
        if flip and not config.resolved_augmentation.flip:  # asked for, whatever the dataset
            config = replace(config, augmentation=config.recipe.augmentation)
        return config

    @classmethod
    def from_file(cls, path: PathLike, **options: Any) -> "TrainConfig":
        """Returns the configuration of a file, see `read`; what is given as an option wins.

        Raises:
            InputError: The file is no configuration, or its options do not fit each other or those given.
        """
        values = read(path)
        try:
            return cls.of(**values | options)
        except InputError as error:
            raise InputError(f"{path}{', with the options given beside it' if options else ''}: {error}") from error


# The options of a training: the fields of the training, of its recipe and of its augmentation, side by side.
OF_TRAINING: dict[str, Field[Any]] = {item.name: item for item in fields(TrainConfig) if item.name != "augmentation"}
OF_RECIPE: dict[str, Field[Any]] = {
    item.name: item for item in fields(Recipe) if item.name not in ("name", "augmentation")
}
OF_AUGMENTATION: dict[str, Field[Any]] = {item.name: item for item in fields(Augmentation)}
# Of the recipe, what the files of earlier versions lack.
LATER: frozenset[str] = frozenset(
    ("distillation", "distillation_temperature", "aux_loss_schedule", "kernel_initializer", "bias_initializer")
)
OPTIONS: dict[str, Field[Any]] = OF_TRAINING | OF_RECIPE | OF_AUGMENTATION

# What "off" means in a file or on the command line, for the options that something can be left out with.
OFF: dict[str, float | None] = {
    **dict.fromkeys(
        (
            "weights",
            "freeze_through",
            "class_weight",
            "patience",
            "max_minutes",
            "cache",
            "train_image_size",
            "crop_area",
            "randaugment",
            "mixup",
            "cutmix",
            "mixup_off_epoch",
            "split_seed",
        )
    ),
    **dict.fromkeys(("dropout", "aux_dropout"), 0.0),
}


def _check_names(options: Mapping[str, Any], where: str = "") -> None:
    for name in options:
        if name not in OPTIONS:
            hint = did_you_mean(name, OPTIONS)
            raise InputError(f"{where}A training has no option of this name. {hint}Received: {shown(name)}")


def to_options(config: TrainConfig) -> dict[str, Any]:
    """Returns all options of a configuration, flat; what JSON holds of them, `TrainConfig.of` turns into the same.

    An `augmentation` of its own then is the recipe's.
    """
    options = {name: getattr(config, name) for name in OF_TRAINING}
    if isinstance(config.architecture, Architecture):
        options["architecture"] = config.architecture.to_dict()
    options["recipe"] = config.recipe.name
    options |= {name: getattr(config.recipe, name) for name in OF_RECIPE}
    options |= {name: getattr(config.resolved_augmentation, name) for name in OF_AUGMENTATION}
    if config.recipe.augmentation.flip and not options["flip"] and config.augmentation is None:
        options["flip"] = None  # follows from the dataset
    return options


def changes(was: TrainConfig, now: TrainConfig) -> str:
    """Returns in words what would keep a training of one configuration from going on with another; "" for nothing.

    Other devices would not, nor another cache, patience or time, nor leaving out bad images, nor an image size that was
    chosen from the images.
    """
    free = (
        "strategy",
        "full_check",
        "skip_bad_images",
        "patience",
        "max_minutes",
        "cache",
        *(("image_size",) if now.image_size is None else ()),
    )
    # A run of an earlier version holds the architecture's own weights of the losses, where None stands today.
    before, after = (
        {**to_options(config), "loss_weights": config.loss_weights, "flip": config.resolved_augmentation.flip}
        for config in (was, now)
    )
    return ", ".join(differences(before, after, free))


def differences(before: dict[str, Any], after: dict[str, Any], free: Collection[str]) -> list[str]:
    """Returns in words by which values two sets of options differ, beside those that are free to."""
    return [
        f"{name} was {before.get(name, 'not there')} and is {after.get(name, 'not there')}"
        for name in before | after
        if before.get(name) != after.get(name) and name not in free
    ]


def read(path: PathLike) -> dict[str, Any]:
    """Reads some options of a training from a file.

    Args:
        path: A TOML, YAML or JSON file, such as the `config.json` of a run, with `OPTIONS` on its top level.
            "off" and false leave out what `OFF` names.

    Returns:
        The keyword arguments of `TrainConfig.of`.

    Raises:
        InputError: The file is missing or malformed, or holds an option that there is not or that is out of range.
    """
    values = read_configuration(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold options of a training by name. Received: {shown(values)}")
    _check_names(values, f"{path}: ")
    architecture = values.get("architecture")
    old = re.fullmatch(r"(\w+)@(\d*\.?\d+)", architecture) if isinstance(architecture, str) else None
    if old:  # earlier versions wrote the width into the name
        values |= {"architecture": old[1], "width": float(old[2])}
    values = normalised(values)
    for name, value in values.items():
        if name != "flip" or value is not None:  # see `to_options`
            check_value(OPTIONS[name], value, f"{path}: ")
    return values


def normalised(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options with the values of `OFF` where a file or a command says "off" or false; a 0 stays one."""

    def is_off(value: Any) -> bool:
        return value is False or (isinstance(value, (str, list)) and value in ("off", ["off"]))

    return {name: OFF[name] if name in OFF and is_off(value) else value for name, value in options.items()}
