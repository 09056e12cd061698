"""Models in files: how they are loaded, and why one cannot be."""

import errno
import json
import os
import shlex
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from keras_inception import architectures, files
from keras_inception.architectures import Architecture
from keras_inception.errors import InputError, MissingPackageError
from keras_inception.network.model import InceptionModel
from keras_inception.types import PathLike

HUB = "hf://"

# Of the folder of a run; see `keras_inception.training.runs`.
MODEL, CONFIG = "model.keras", "config.json"


@dataclass(frozen=True)
class Known:
    """What a model file says of its network beside the weights.

    Attributes:
        architecture: The `Architecture`, or None.
        preprocessing: The mode of `preprocess_input` that the weights learned from, or None.
        image_shape: The shape of an image, in the order of the network's data format.
    """

    architecture: Architecture | None
    preprocessing: str | None
    image_shape: tuple[int | None, ...]

    def taken_over(
        self, architecture: str | Architecture | None, width: float | None
    ) -> tuple[str | Architecture | None, float | None]:
        """Returns the architecture and the width, of the network where they are not given.

        Raises:
            InputError: Those given are of another trunk.
        """
        if self.architecture is None:
            return architecture, width
        name, own_width = architectures.named(self.architecture)
        architecture = name if architecture is None else architecture
        width = own_width if width is None and architecture == name else width
        chosen = architectures.get(architecture, width)
        if replace(chosen, auxiliary_heads=()) != replace(self.architecture, auxiliary_heads=()):
            raise InputError(
                f"The weights are of architecture={self.architecture.name!r}, and a network that begins with them is "
                f"too. Leave out `architecture` and `width`, or `weights`. Received: architecture={chosen.name!r}"
            )
        return architecture, width


def known(weights: PathLike | None) -> Known | None:
    """Returns what the model file of a training says of its network; it is not loaded, unless it is on the Hub.

    Args:
        weights: What `load_model` takes, of which something is returned; or anything else that `GoogLeNet` takes.

    Raises:
        InputError: As `load_model`.
        MissingPackageError: There is no huggingface_hub.
        OSError: The file may not be read.
    """
    if str(weights).startswith(HUB):
        model = load_model(str(weights), compiled=False)
        return Known(model.architecture, model.record.preprocessing, model.input_shape[1:])
    if not isinstance(weights, (str, os.PathLike)):
        return None
    weights = files.named(weights, "weights")
    if not (weights.suffix == ".keras" or weights.is_dir()):
        return None
    path = _model_file(weights)
    if reason := _why_unreadable(path):
        raise _not_readable(path, reason)
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        layers = [(layer["class_name"], layer["config"]) for layer in config["layers"]]
        shape = next(layer["batch_shape"] for kind, layer in layers if kind == "InputLayer")
        first = next((layer for kind, layer in layers if kind == "Preprocessing"), config)  # not of earlier versions
        return Known(architectures.saved(config["architecture"]), first["preprocessing"], tuple(shape[1:]))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(
            f"{path} holds a Keras model that keras-inception did not build. Use one that it trained."
        ) from error


def load_model(run: PathLike, *, compiled: bool = True) -> InceptionModel:
    """Loads the model of a run, of a `.keras` file, or of the Hugging Face Hub.

    Args:
        run: The run's folder, whose `model.keras` is loaded; a `.keras` file; or `"hf://USER/MODEL"`, to which
            `model.save` wrote (`pip install huggingface_hub`).
        compiled: Whether to compile it as it was.

    Raises:
        InputError: It is none of these, or the file is damaged or holds something else.
        MissingPackageError: There is no huggingface_hub.
        OSError: The file may not be read.
    """
    if str(run).startswith(HUB):
        path, reason = str(run), ""
    else:
        place = _model_file(run)
        path, reason = str(place), _why_unreadable(place)
    try:
        model = None if reason else keras.saving.load_model(path, compile=compiled)
    except ImportError as error:
        raise MissingPackageError(f"{path} needs a package that is not installed: {error}") from error
    except OSError as error:
        if error.errno is not None:  # of the system, which says which file and why
            raise
        reason = str(error)
    except Exception as error:  # Keras raises errors of all kinds for what the file's parts may hold
        reason = str(error) or type(error).__name__
    if reason:
        raise _not_readable(path, reason)
    if not isinstance(model, InceptionModel):
        raise InputError(f"{path} holds a Keras model that keras-inception did not build. Use one that it trained.")
    return model


def _model_file(run: PathLike) -> Path:
    """Returns the file of a run's model; refuses what is no run."""
    given = files.named(run, "run")
    place = given / MODEL if given.is_dir() else given
    if place.suffix != ".keras" or not place.is_file():
        raise InputError(
            f"A run is a folder with a {MODEL} that `keras-inception train` wrote, or a .keras file. "
            f"Received: {given}, {_what_it_is(given)}"
        )
    return place


def _not_readable(path: PathLike, reason: str) -> InputError:
    return InputError(f"{path} is no Keras model that can be read here: {' '.join(reason.split())[:200]}.")


def resuming(folder: PathLike) -> str:
    """Returns the command that goes on with the run in a folder."""
    return f"`keras-inception train --resume {shlex.quote(str(folder))}`"


def _what_it_is(run: Path) -> str:
    """Returns why a path is neither a run with a model nor a `.keras` file."""
    if run.is_dir():
        if not (run / CONFIG).is_file():
            return "a folder without one"
        return f"whose training has not come to the end of an epoch; go on with {resuming(run)}"
    if not os.path.lexists(run):
        return "where nothing is"
    if run.suffix.lower() in (".h5", ".hdf5"):
        return "an HDF5 file, from which Keras cannot load such a network; save the model as .keras where it was built"
    return "a file whose name does not end in .keras" if run.is_file() else "which is no file"


def _why_unreadable(path: Path) -> str:
    """Returns why a file is no complete `.keras` file, which is a zip archive; an empty text where it is one."""
    with open(path, "rb") as file:
        start = file.read(4)
    if not start:
        return "it is empty"
    if not start.startswith(b"PK"):
        return "it is no .keras file, whatever its name says"
    try:
        if not zipfile.is_zipfile(path):
            return "it is truncated, as after an interrupted copy or download"
        with zipfile.ZipFile(path) as archive:
            missing = {"metadata.json", "config.json", "model.weights.h5"} - set(archive.namelist())
            if missing:
                return f"it is a zip archive without {', '.join(sorted(missing))}"
            damaged = archive.testzip()
    except Exception as error:  # of all kinds, for what a damaged directory of an archive may hold
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the system, but for a bad seek
            raise
        return f"it is damaged ({error or type(error).__name__})"
    return f"its {damaged} is damaged" if damaged else ""
