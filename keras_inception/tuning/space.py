"""What a search may vary: names, ranges, and the configuration of a training that their values make.

A name is that of a number, a switch or a word of `TrainConfig`, its recipe or its augmentation, or one of these:

- `aux1_weight`, and so on for each auxiliary head: the weight of its loss; 0 lets it not learn;
- `normalization`: "lrn" (the paper's) or "batch";
- `augmentation`: from 0 to 1, how strongly images are moved and their colours changed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import keras_tuner

from keras_inception.errors import InputError
from keras_inception.rules import is_number
from keras_inception.training.config import TrainConfig, normalised, to_options

NORMALIZATIONS = {"lrn": "googlenet", "batch": "googlenet_bn"}

# What an `augmentation` of 1 is (ours); none of it mirrors, so that digits and letters stay what they are.
STRONGEST = {
    "shift": 0.1, "rotation_degrees": 15.0, "zoom": 0.15, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
}  # fmt: skip

# What decides the data, the machine or other fields rather than the training.
NOT_SEARCHED = (
    "recipe", "dataset", "seed", "split_seed", "weights", "strategy", "deterministic", "validation_fraction",
    "test_fraction", "skip_bad_images", "full_check", "tensorboard", "gradient_flow", "loss_weights", "image_size",
    "epochs", "resize", "patience", "max_minutes", "class_weight", "cache", "train_image_size", "final_epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """A range of numbers; whole ones where both ends and the step are.

    Attributes:
        min_value: The smallest.
        max_value: The largest.
        step: Distance of two values, with `sampling="log"` their ratio; None for any number between the ends.
        sampling: "linear", or "log", which is for numbers above 0.
    """

    min_value: float
    max_value: float
    step: float | None = None
    sampling: str = "linear"

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return all(isinstance(value, int) for value in (self.min_value, self.max_value, self.step or 0))

    @property
    def broken_rule(self) -> str | None:
        """What the range must do and does not; None for a sound one."""
        numbers = [value for value in (self.min_value, self.max_value, self.step) if value is not None]
        if not all(is_number(value) for value in numbers):
            return "be of finite numbers"
        if self.sampling not in ("linear", "log"):
            return 'have the sampling "linear" or "log"'
        if self.min_value > self.max_value:
            return "have a smallest value that is not above its largest"
        if self.sampling == "log" and self.min_value <= 0:
            return "be above 0 for log sampling"
        if self.step is not None and self.step <= (self.sampling == "log"):
            return "have a step above 0, and above 1 for log sampling"
        return None


Entry: TypeAlias = Range | list[Any]
Space: TypeAlias = dict[str, Entry]

# Ours. The steps hit the recipe's and the paper's values exactly.
SPACE: Space = {
    "learning_rate": Range(1e-4, 1e-2, sampling="log"),
    "schedule": ["cosine", "polynomial", "constant"],
    "warmup_fraction": Range(0.0, 0.2, step=0.05),
    "optimizer": ["adam", "sgd"],
    "weight_decay": [0.0, 1e-5, 1e-4, 1e-3, 1e-2],
    "label_smoothing": Range(0.0, 0.2, step=0.05),
    "dropout": Range(0.0, 0.6, step=0.2),
    "aux_dropout": Range(0.0, 0.7, step=0.35),
    "width": Range(0.5, 1.25, step=0.25),
    "normalization": ["lrn", "batch"],
    "augmentation": Range(0.0, 1.0, step=0.25),
    "batch_size": Range(16, 128, step=2, sampling="log"),
}
HEAD_WEIGHT = Range(0.0, 0.6, step=0.15)  # of each auxiliary head


def read(space: Mapping[str, Any] | Sequence[str] | None, config: TrainConfig) -> Space:
    """Returns a space as a dict by names, of a `Range` or a list of choices.

    Args:
        space: What `GoogLeNetHyperModel` takes.
        config: What is not searched.

    Raises:
        InputError: It is empty, holds a name that cannot be searched, or a value that no training takes.
    """
    defaults, meaningless = {**SPACE, **dict.fromkeys(_head_weights(config), HEAD_WEIGHT)}, _without_meaning(config)
    if space is None:
        space = [name for name in defaults if name not in meaningless]
    if isinstance(space, str) or not isinstance(space, (Mapping, list, tuple)):
        raise InputError(f"`space` must be a list of names, or a dict by names. Received: space={space!r}")
    if not all(isinstance(name, str) for name in space):
        raise InputError(f"`space` must hold names of what a training can vary. Received: space={space!r}")
    if not isinstance(space, Mapping):
        space = dict.fromkeys(space, True)
    if not space:
        raise InputError(f"`space` must name what is searched, such as {', '.join(SPACE)}. Received: an empty space")
    known = [*defaults, *sorted(to_options(config).keys() - defaults.keys() - set(NOT_SEARCHED))]
    for name in space:
        if name in meaningless:
            raise InputError(f"`space` must fit the network: {meaningless[name]}. Received: {name!r} in the space")
        if name not in known:
            raise InputError(
                f"`space` must hold names of what a training can vary: {', '.join(known)}. Received: {name!r}"
            )
    space = {name: _read_entry(name, entry, defaults.get(name)) for name, entry in space.items()}
    decided = {"normalization": ["architecture"], "aux_heads": _head_weights(config), "augmentation": STRONGEST}
    for first, second in ((first, second) for first, names in decided.items() for second in names):
        if first in space and second in space:
            raise InputError(
                f"`space` must hold one of {first!r} and {second!r}: each decides the other. "
                f"Received: space with {', '.join(space)}"
            )
    _check_values(space, config)
    return space


def unless_given(given: Collection[str], config: TrainConfig) -> list[str]:
    """Returns the names that are searched by default, without those that decide what options given decide."""
    decides = {
        "normalization": ("architecture",),
        "augmentation": tuple(STRONGEST),
        **dict.fromkeys(_head_weights(config), ("loss_weights",)),
    }
    return [name for name in read(None, config) if not set(given) & set(decides.get(name, (name,)))]


def _head_weights(config: TrainConfig) -> dict[str, float]:
    """Returns the weights of the losses of the auxiliary heads, by name in the space."""
    architecture = config.resolved_architecture
    weights = config.recipe.loss_weights or architecture.loss_weights
    return {f"{head}_weight": weight for head, weight in zip(architecture.heads[1:], weights[1:])}


def _without_meaning(config: TrainConfig) -> dict[str, str]:
    """Returns, by name, why some of the default space means nothing for a configuration."""
    reasons: dict[str, str] = {}
    if not config.aux_heads:
        reasons |= dict.fromkeys(("aux_dropout", *_head_weights(config)), "its auxiliary heads are left out")
    elif not config.resolved_architecture.auxiliary_heads:
        reasons["aux_dropout"] = "it has no auxiliary heads"
    if config.resolved_architecture.name not in NORMALIZATIONS.values():
        both = " and ".join(NORMALIZATIONS.values())
        reasons["normalization"] = f"only {both} differ in their normalization alone"
    if config.weights:
        reasons |= dict.fromkeys(("width", "normalization"), "its published weights are of one architecture")
    return reasons


def _read_entry(name: str, entry: Any, default: Entry | None) -> Entry:
    """Returns a `Range` or a list of choices from whatever the user wrote."""
    if entry is True and default is None:
        raise InputError(f"`space` must say what values {name!r} may take, which has no default. Received: {name!r}")
    if entry is True:
        entry = default
    elif isinstance(entry, Mapping):
        unknown = sorted(set(entry) - {field.name for field in fields(Range)})
        if unknown or not {"min_value", "max_value"} <= set(entry):
            raise InputError(
                "A range in `space` must have min_value and max_value, and may have step and sampling. "
                f"Received: {name}={dict(entry)}"
            )
        entry = Range(**entry)
    elif isinstance(entry, tuple):
        if len(entry) != 2:
            raise InputError(
                f"A range in `space` must be (smallest, largest); choices are a list. Received: {name}={entry}"
            )
        kept = default if isinstance(default, Range) else Range(0, 0)
        entry = replace(kept, min_value=entry[0], max_value=entry[1])
    if isinstance(entry, Range):
        if entry.broken_rule:
            raise InputError(f"A range in `space` must {entry.broken_rule}. Received: {name}={entry}")
        return entry
    choices = entry if isinstance(entry, list) else [entry]
    kinds = {float if type(choice) is int else type(choice) for choice in choices}
    if not choices or len(kinds) > 1 or not kinds <= {float, str, bool} or len(set(choices)) < len(choices):
        raise InputError(
            "Choices in `space` must be different numbers, or different words, or True and False. "
            f"Received: {name}={entry!r}"
        )
    whole = all(isinstance(choice, int) for choice in choices)
    return choices if whole or kinds != {float} else [float(choice) for choice in choices]


def _check_values(space: Space, config: TrainConfig) -> None:
    """Refuses a space that holds values that no training takes."""
    options = to_options(config)
    for name, entry in space.items():
        if isinstance(entry, Range) and type(options.get(name)) is int and not entry.is_whole:
            raise InputError(f"A range in `space` must be of whole numbers for {name}. Received: {name}={entry}")
        for value in [entry.min_value, entry.max_value] if isinstance(entry, Range) else entry:
            try:
                configured(config, {name: value})
            except InputError as error:
                raise InputError(f"`space` holds a value that no training takes: {name}={value!r}. {error}") from error


def declare(space: Space, hp: keras_tuner.HyperParameters, config: TrainConfig) -> dict[str, Any]:
    """Returns the values of a trial by name, after declaring their ranges to its `HyperParameters`.

    Raises:
        KeyError: The space holds a name that `read` refuses for the configuration.
    """
    architecture = config.resolved_architecture
    defaults = {**to_options(config), **_head_weights(config), "augmentation": 0.0}
    defaults["normalization"] = {name: kind for kind, name in NORMALIZATIONS.items()}.get(architecture.name)
    if config.dropout is None:
        defaults["dropout"] = architecture.dropout
    if config.aux_dropout is None and architecture.auxiliary_heads:
        defaults["aux_dropout"] = architecture.auxiliary_heads[0].dropout
    return {name: _declare(name, entry, hp, defaults[name]) for name, entry in space.items()}


def _declare(name: str, entry: Entry, hp: keras_tuner.HyperParameters, default: Any) -> Any:
    if isinstance(entry, list):
        value = hp.Choice(name, entry, default=default if default in entry else entry[0])
        return next((choice for choice in entry if choice == value), value)  # KerasTuner makes 1 of True
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    default = min(max(default, entry.min_value), entry.max_value) if is_number else entry.min_value
    number = hp.Int if entry.is_whole else hp.Float
    return number(name, entry.min_value, entry.max_value, entry.step, entry.sampling, default=default)


def configured(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Returns a configuration with the values of a trial.

    Args:
        config: What is not searched.
        values: By names of the space.

    Raises:
        InputError: A value, or a combination of them, is out of range.
    """
    options, weights = {**to_options(config), "recipe": config.recipe}, _head_weights(config)
    values = {name: _rounded(value) for name, value in values.items()}
    if set(values) & set(weights):
        main = (config.recipe.loss_weights or (1.0,))[0]
        options["loss_weights"] = (main, *(values.pop(name, weight) for name, weight in weights.items()))
    if "normalization" in values:
        kind = values.pop("normalization")
        if kind not in NORMALIZATIONS:
            raise InputError(f"`normalization` must be one of {', '.join(NORMALIZATIONS)}. Received: {kind!r}")
        options["architecture"] = NORMALIZATIONS[kind]
    if "augmentation" in values:
        amount = values.pop("augmentation")
        if not is_number(amount, 0, 1):
            raise InputError(f"`augmentation` must be a number from 0 to 1. Received: augmentation={amount!r}")
        options |= {name: _rounded(amount * most) for name, most in STRONGEST.items()}
    for name, value in normalised(values).items():
        whole = type(options[name]) is int and isinstance(value, float) and value.is_integer()
        options[name] = int(value) if whole else value  # KerasTuner gives 16.0 for 16
    return TrainConfig.of(**options)


def _rounded(value: Any) -> Any:
    """Returns a number without the noise of its last digits, which a step of 0.1 has."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
