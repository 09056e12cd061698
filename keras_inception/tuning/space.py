"""What a search may vary: names, ranges, and the configuration of a training that their values make.

A name is that of a number, a switch or a word of `TrainConfig`, or one of these:

- `aux1_weight`, `aux2_weight`: the auxiliary losses' weights; 0 lets a head not learn;
- `width`: how many times as wide the trunk is as the architecture's;
- `normalization`: "lrn" (the paper's) or "batch";
- `augmentation`: from 0 to 1, how strongly images are moved and their colours changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from keras_inception.errors import InputError
from keras_inception.training.config import TrainConfig

AUXILIARY_WEIGHTS = ("aux1_weight", "aux2_weight")
NORMALIZATIONS = {"lrn": "googlenet", "batch": "googlenet_bn"}

# What an `augmentation` of 1 is (ours); none of it mirrors, so that digits and letters stay what they are.
STRONGEST = {
    "shift": 0.1, "rotation_degrees": 15.0, "zoom": 0.15, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
}  # fmt: skip

# What decides the data, the machine or other fields rather than the training.
NOT_SEARCHED = (
    "recipe", "dataset", "seed", "weights", "strategy", "deterministic", "validation_fraction", "test_fraction",
    "skip_bad_images", "tensorboard", "gradient_flow", "loss_weights", "image_size", "epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """A range of numbers; whole ones where both ends are.

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


# Ours. The steps hit the recipe's and the paper's values exactly.
SPACE = {
    "learning_rate": Range(1e-4, 1e-2, sampling="log"),
    "schedule": ["cosine", "polynomial", "constant"],
    "warmup_fraction": Range(0.0, 0.2, step=0.05),
    "optimizer": ["adam", "sgd"],
    "weight_decay": [0.0, 1e-5, 1e-4, 1e-3, 1e-2],
    "label_smoothing": Range(0.0, 0.2, step=0.05),
    "dropout": Range(0.0, 0.6, step=0.2),
    "aux_dropout": Range(0.0, 0.7, step=0.35),
    "aux1_weight": Range(0.0, 0.6, step=0.15),
    "aux2_weight": Range(0.0, 0.6, step=0.15),
    "width": Range(0.5, 1.25, step=0.25),
    "normalization": ["lrn", "batch"],
    "augmentation": Range(0.0, 1.0, step=0.25),
    "batch_size": Range(16, 128, step=2, sampling="log"),
}


def read(space, config):
    """Returns a space as a dict by names: of a `Range`, a list of choices, or a function of `HyperParameters`.

    Args:
        space: What `GoogLeNetHyperModel` takes.
        config: The `TrainConfig` of what is not searched.

    Raises:
        ValueError: It is empty, holds a name that cannot be searched, or a value that no training takes.
    """
    if space is None:
        space = [name for name in SPACE if name not in _without_meaning(config)]
    if isinstance(space, str) or not isinstance(space, (Mapping, list, tuple)):
        raise InputError(f"`space` must be a list of names, or a dict by names. Received: space={space!r}")
    if not isinstance(space, Mapping):
        space = dict.fromkeys(space, True)
    if not space:
        raise InputError(f"`space` must name what is searched, such as {', '.join(SPACE)}. Received: an empty space")
    meaningless = _without_meaning(config)
    for name in space:
        _check_name(name)
        if name in meaningless:
            raise InputError(f"`space` must fit the network: {meaningless[name]}. Received: {name!r} in the space")
    space = {name: _read_entry(name, entry) for name, entry in space.items()}
    for first, second in (("architecture", "normalization"), ("aux_heads", "aux1_weight"), ("aux_heads", "aux2_weight"),
                          *(("augmentation", name) for name in STRONGEST)):  # fmt: skip
        if first in space and second in space:
            raise InputError(
                f"`space` must hold one of {first!r} and {second!r}: each decides the other. "
                f"Received: space with {', '.join(space)}"
            )
    _check_values(space, config)
    return space


def _check_name(name):
    known = {field.name for field in fields(TrainConfig)} - set(NOT_SEARCHED)
    if name not in known | set(SPACE):
        raise InputError(
            f"`space` must hold names of what a training can vary: {', '.join([*SPACE, *sorted(known - set(SPACE))])}. "
            f"Received: {name!r}"
        )


def _without_meaning(config):
    """Returns, by name, why some of the default space means nothing for a configuration."""
    reasons = {}
    if not config.aux_heads:
        reasons |= dict.fromkeys(("aux_dropout", *AUXILIARY_WEIGHTS), "its auxiliary heads are left out")
    if config.architecture.split("@")[0] not in NORMALIZATIONS.values():
        both = " and ".join(NORMALIZATIONS.values())
        reasons["normalization"] = f"only {both} differ in their normalization alone"
    if config.weights:
        reasons |= dict.fromkeys(("width", "normalization"), "its published weights are of one architecture")
    return reasons


def _read_entry(name, entry):
    """Returns a `Range`, a list of choices or a function from whatever the user wrote."""
    default = SPACE.get(name)
    if entry is True and default is not None:
        return default
    if entry is True:
        raise InputError(f"`space` must say what values {name!r} may take, which has no default. Received: {name!r}")
    if callable(entry) or isinstance(entry, Range):
        return _check_range(name, entry) if isinstance(entry, Range) else entry
    if isinstance(entry, Mapping):
        unknown = sorted(set(entry) - {field.name for field in fields(Range)})
        if unknown or not {"min_value", "max_value"} <= set(entry):
            raise InputError(
                "A range in `space` must have min_value and max_value, and may have step and sampling. "
                f"Received: {name}={dict(entry)}"
            )
        return _check_range(name, Range(**entry))
    if isinstance(entry, tuple):
        if len(entry) != 2:
            raise InputError(
                f"A range in `space` must be (smallest, largest); choices are a list. Received: {name}={entry}"
            )
        kept = default if isinstance(default, Range) else Range(0, 0)
        return _check_range(name, replace(kept, min_value=entry[0], max_value=entry[1]))
    choices = entry if isinstance(entry, list) else [entry]
    kinds = {float if type(choice) is int else type(choice) for choice in choices}
    if not choices or len(kinds) > 1 or not kinds <= {float, str, bool} or len(set(choices)) < len(choices):
        raise InputError(
            "Choices in `space` must be different numbers, or different words, or True and False. "
            f"Received: {name}={entry!r}"
        )
    whole = all(isinstance(choice, int) for choice in choices)
    return choices if whole or kinds != {float} else [float(choice) for choice in choices]


def _check_range(name, range_):
    numbers = [value for value in (range_.min_value, range_.max_value, range_.step) if value is not None]
    rule = None
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in numbers):
        rule = "be of numbers"
    elif range_.sampling not in ("linear", "log"):
        rule = 'have the sampling "linear" or "log"'
    elif range_.min_value > range_.max_value:
        rule = "have a smallest value that is not above its largest"
    elif range_.sampling == "log" and range_.min_value <= 0:
        rule = "be above 0 for log sampling"
    elif range_.step is not None and range_.step <= (range_.sampling == "log"):
        rule = "have a step above 0, and above 1 for log sampling"
    if rule:
        raise InputError(f"A range in `space` must {rule}. Received: {name}={range_}")
    return range_


def _check_values(space, config):
    """Refuses a space that holds values that no training takes."""
    for name, entry in space.items():
        if callable(entry):
            continue
        for value in [entry.min_value, entry.max_value] if isinstance(entry, Range) else entry:
            try:
                configured(config, {name: value})
            except ValueError as error:
                raise InputError(f"`space` holds a value that no training takes: {name}={value!r}. {error}") from error


def declare(space, hp, config):
    """Returns the values of a trial by name, after declaring their ranges to its `HyperParameters`."""
    return {name: _declare(name, entry, hp, _default(name, config)) for name, entry in space.items()}


def _declare(name, entry, hp, default):
    if callable(entry):
        return entry(hp)
    if isinstance(entry, list):
        return hp.Choice(name, entry, default=default if default in entry else entry[0])
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    default = min(max(default, entry.min_value), entry.max_value) if is_number else entry.min_value
    number = hp.Int if isinstance(entry.min_value, int) and isinstance(entry.max_value, int) else hp.Float
    return number(name, entry.min_value, entry.max_value, entry.step, entry.sampling, default=default)


def _default(name, config):
    """Returns what a configuration says of a name."""
    if name in AUXILIARY_WEIGHTS:
        weights = (*config.loss_weights, 0.0, 0.0)
        return weights[1 + AUXILIARY_WEIGHTS.index(name)]
    base, _, width = config.architecture.partition("@")
    if name == "width":
        return float(width or 1)
    if name == "normalization":
        return next((kind for kind, architecture in NORMALIZATIONS.items() if architecture == base), None)
    if name == "augmentation":
        return 0.0
    if name in ("dropout", "aux_dropout") and getattr(config, name) is None:
        return {"dropout": 0.4, "aux_dropout": 0.7}[name]  # the paper's
    return getattr(config, name)


def configured(config, values):
    """Returns a configuration with the values of a trial.

    Args:
        config: The `TrainConfig` of what is not searched.
        values: Dict by names of the space; a value of None leaves the configuration's.

    Raises:
        ValueError: A value, or a combination of them, is out of range.
    """
    values = {name: _rounded(value) for name, value in values.items() if value is not None}
    whole = {field.name for field in fields(TrainConfig) if field.type is int}
    changes = {
        name: int(value) if name in whole and value == int(value) else value  # KerasTuner gives 16.0 for 16
        for name, value in values.items()
        if name not in SPECIAL
    }
    base, _, width = changes.pop("architecture", config.architecture).partition("@")
    base = NORMALIZATIONS[values["normalization"]] if "normalization" in values else base
    width = values.get("width", float(width or 1))
    changes["architecture"] = base if width == 1 else f"{base}@{width:g}"
    if set(values) & set(AUXILIARY_WEIGHTS):
        main, *auxiliary = (*config.loss_weights, 0.0, 0.0)
        auxiliary = [values.get(name, weight) for name, weight in zip(AUXILIARY_WEIGHTS, auxiliary)]
        changes["loss_weights"] = (main, *auxiliary)
    if "augmentation" in values:
        if not 0 <= values["augmentation"] <= 1:
            raise InputError(f"`augmentation` must be from 0 to 1. Received: augmentation={values['augmentation']}")
        changes |= {name: _rounded(values["augmentation"] * most) for name, most in STRONGEST.items()}
    return replace(config, **changes)


SPECIAL = (*AUXILIARY_WEIGHTS, "width", "normalization", "augmentation")


def _rounded(value):
    """Returns a number without the noise of its last digits, which a step of 0.1 has."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
