"""What decides a training: the fields of `TrainConfig`, each an option of `keras-inception train` and a key of a file.

Nothing heavy is imported before a configuration is made, so that `--help` answers at once.
"""

import difflib
import importlib.util
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from keras_inception import architectures, files
from keras_inception.errors import InputError
from keras_inception.recipes import recipe
from keras_inception.recipes.recipe import Recipe
from keras_inception.recipes.rules import SHARE, SWITCH, check, is_whole

STRATEGIES = ("auto", "one", "mirrored", "multi-worker")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")

# A mirrored digit or letter is another one, or none.
NOT_TO_BE_MIRRORED = ("digits", "mnist", "emnist", "kmnist", "svhn_cropped", "omniglot")


@dataclass(frozen=True, kw_only=True, init=False)
class TrainConfig(Recipe):
    """All that decides a training: the fields below, and those of `Recipe`, which the recipe gives.

    A field of the recipe that is given wins over the recipe. Digits and letters are not mirrored unless `flip` says so.

    Attributes:
        recipe: "quick", "paper", "bvlc" or "modern"; see `recipe`.
        dataset: "digits", a folder of class folders, or the name of a TFDS dataset.
        architecture: The network: "googlenet", "googlenet_bn", "googlenet_small", "inception_v1_slim" or
            "inception_v1_torchvision"; with a trunk of another width such as "googlenet_bn@0.5". See `architectures`.
        aux_heads: Whether to train with the auxiliary heads.
        image_size: Height and width of the network's input in pixels; by default chosen from the images.
        dropout: Rate of the main head's dropout in [0, 1); by default the architecture's (paper: 0.4).
        aux_dropout: Rate of the auxiliary heads' dropout in [0, 1); by default the paper's 0.7.
        weights: None for random ones; for fine-tuning "imagenet", the path of a publisher's file, or that of a
            `.weights.h5` file.
        freeze_through: The last row of the architecture that does not learn, such as "inception_4e"; by default all
            rows learn.
        precision: "float32", "mixed_bfloat16", "mixed_float16", or "auto": bfloat16 where the hardware has it
            (AVX512_BF16, AMX, GPUs from Ampere on). Outputs and losses are float32 always.
        strategy: "auto", "one", "mirrored" or "multi-worker": one device, all of this machine, or the workers that
            `TF_CONFIG` or Slurm names; see `distribute.get_strategy`.
        seed: Decides initial weights, dropout, the order of the images, their augmentation and the splits that the
            source lacks; at least 0.
        deterministic: Whether TensorFlow computes the same bits in every run, which costs time; it then does so until
            the process ends.
        validation_fraction: Share of the training images for validation where the source has none, in [0, 1).
        test_fraction: Share of the training images for testing where the source has none, in [0, 1).
        skip_bad_images: Whether to leave out unreadable files of a folder rather than refuse them.
        tensorboard: Whether to write TensorBoard logs into the run folder.
        gradient_flow: Every how many epochs to write into `gradients.csv` the norm of the gradient that reaches each
            row from each head's loss, on a batch of validation images; 0 for never.

    Raises:
        TypeError: A field is unknown.
        ValueError: A field is out of range.
    """

    recipe: str = "quick"
    dataset: str = "digits"
    architecture: str = "googlenet"
    aux_heads: bool = True
    image_size: int | None = None
    dropout: float | None = None
    aux_dropout: float | None = None
    weights: str | None = None
    freeze_through: str | None = None
    precision: str = "float32"
    strategy: str = "auto"
    seed: int = 0
    deterministic: bool = False
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    skip_bad_images: bool = False
    tensorboard: bool = False
    gradient_flow: int = 0

    def __init__(self, **values):
        known = [field.name for field in fields(self)]
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f"Did you mean {close[0]}? " if close else ""
                raise TypeError(f"There is no field of this name in a training. {hint}Received: {name}")
        defaults = recipe.get(values.get("recipe", TrainConfig.recipe))
        for field in fields(self):
            value = values.get(field.name, getattr(defaults, field.name, field.default))
            object.__setattr__(self, field.name, value)
        if "flip" not in values and self.dataset in NOT_TO_BE_MIRRORED:
            object.__setattr__(self, "flip", False)
        self.__post_init__()

    def __post_init__(self):
        super().__post_init__()
        rows = [row.name for row in architectures.get(self.architecture).rows]
        check(self, RULES)
        if self.freeze_through not in (None, *rows):
            raise InputError(
                f"`freeze_through` must be a row of {self.architecture!r}: {', '.join(rows)}. "
                f"Received: freeze_through={self.freeze_through!r}"
            )
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise InputError(
                "TensorBoard logs need the package tensorboard, which is not installed. Use `pip install tensorboard`."
            )
        from keras_inception.weights import source_of

        source_of(self.weights, self.architecture)  # refuses an architecture that nobody published weights for

    @classmethod
    def from_file(cls, path):
        """Returns the configuration of a file; see `read`."""
        return cls(**read(path))


_MAYBE_SHARE = (f"None, or {SHARE[0]}", lambda value: value is None or SHARE[1](value))

RULES = {
    "precision": (f"one of {PRECISIONS}", lambda value: value in PRECISIONS),
    "strategy": (f"one of {STRATEGIES}", lambda value: value in STRATEGIES),
    "image_size": ("None, or a whole number of pixels", lambda value: value is None or is_whole(value, 1)),
    **dict.fromkeys(("dropout", "aux_dropout"), _MAYBE_SHARE),
    **dict.fromkeys(("seed", "gradient_flow"), ("a whole number of at least 0", lambda value: is_whole(value, 0))),
    **dict.fromkeys(("validation_fraction", "test_fraction"), SHARE),
    **dict.fromkeys(("aux_heads", "deterministic", "skip_bad_images", "tensorboard"), SWITCH),
}


def changes(was, now):
    """Returns in words what would keep a training of one configuration from going on with another; "" for nothing.

    Other devices would not, nor an image size that was chosen from the images.
    """
    free = ("strategy", "image_size") if now.image_size is None else ("strategy",)
    return ", ".join(
        f"{field.name} was {getattr(was, field.name)} and is {getattr(now, field.name)}"
        for field in fields(TrainConfig)
        if getattr(was, field.name) != getattr(now, field.name) and field.name not in free
    )


def may_be_off(field):
    """Returns whether None is among the values of a field of a configuration; files and options say "off"."""
    return type(None) in get_args(field.type)


def read(path):
    """Reads some fields of a training from a file.

    Args:
        path: A TOML or YAML file, or a JSON file such as the `config.json` of a run, with the fields of `TrainConfig`
            on its top level. "off" and false switch a step off that None switches off in Python.

    Returns:
        A dict for `TrainConfig(**values)`.

    Raises:
        ValueError: The file is missing or malformed, or holds a field that there is not.
    """
    values = parsed(path)
    known = {field.name for field in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known)) if isinstance(values, dict) else values
    if unknown or not isinstance(values, dict):
        raise InputError(f"{path} must hold fields of a training, {', '.join(sorted(known))}. Received: {unknown}")
    return normalised(values)


def parsed(path):
    """Returns what a TOML, YAML or JSON file holds; its ending tells which it is.

    Raises:
        ValueError: The file is missing or malformed.
    """

    path = Path(path)
    if path.suffix == ".toml":
        return files.read_text(path, tomllib.loads, "TOML")
    if path.suffix in (".yaml", ".yml"):
        import yaml

        return files.read_text(path, yaml.safe_load, "YAML")
    return files.read_json(path)


def normalised(values):
    """Returns fields of a training with None where a file or an option says "off"."""
    optional = {field.name for field in fields(TrainConfig) if may_be_off(field)}
    return {
        name: None if name in optional and value in ("off", ["off"], False) else value for name, value in values.items()
    }
