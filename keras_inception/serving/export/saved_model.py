"""A trained model as a numbered SavedModel that TensorFlow Serving takes as it is."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_inception import architectures, files
from keras_inception.errors import InputError, shown
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.rules import is_whole
from keras_inception.serving.exits import ExitCalibration, early_exit_model
from keras_inception.serving.export import card, checking, versions, warmup
from keras_inception.serving.export.inference_graph import frozen, serving_network
from keras_inception.serving.export.signatures import ON_BAD_IMAGE, Signatures
from keras_inception.types import PathLike, Tensor


def export_saved_model(
    model: InceptionModel,
    folder: PathLike,
    version: int | None = None,
    *,
    precision: str = "float32",
    top: int = 5,
    on_bad_image: str = "error",
    all_heads: bool = False,
    exits: ExitCalibration | float | Mapping[str, float] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a trained model as the next version of a SavedModel, `folder/1`, `folder/2`, and so on.

    A server that polls the folder sees the version whole or not at all, and no version is ever replaced. All
    signatures take any number of images, 0 included, and decode, resize and preprocess them in the graph as
    `keras-inception predict` does:

    - `serving_default`: `images`, `(batch, height, width, channels)` float32 of any height and width, [0, 255];
    - `serving_uint8`: the same as uint8;
    - `serving_bytes`: `image_bytes`, `(batch,)` strings, JPEG, PNG, BMP, GIF or WebP files;
    - `features`: `images` as in `serving_default`; gives `features`, `(batch, 1024)`, the pooled features below the
      classifier;
    - `all_heads`, where asked for: `images` as in `serving_default`; gives the softmax of each head by its name;
    - `metadata`: no input; names of the classes, preprocessing, and what is known of the training.

    The first three give `probabilities`, `(batch, classes)`, `classes`, `(batch, top)`, the names of the likeliest
    classes, and `scores`, `(batch, top)`, their probabilities. Beside the graph the version holds a model card
    (`README.md`), class names, preprocessing and training as assets, warm-up requests for all that have an input, and
    checksums. `keras-inception check` loads and asks a version before it goes out.

    Args:
        model: A trained model.
        folder: The folder of the versions.
        version: The number of the version, from 1 to 2^63 - 1; by default one more than the highest, or 1.
        precision: `"float32"`, or `"bfloat16"` for weights and maps of 16 bits, which is faster on processors that
            compute with them. What goes in and comes out is float32.
        top: The number of classes in `classes` and `scores`, at least 1; all where there are fewer.
        on_bad_image: What happens to a request with an image that cannot be read, or whose values are no pixels:
            `"error"` fails it with the index of the image, `"mask"` answers with NaN and empty names in its row.
        all_heads: Whether to serve the auxiliary heads in the signature `all_heads`; without it nothing of them is in
            the graph.
        exits: What `calibrate_exits` returned, or thresholds as `early_exit_model` takes them, to let images leave
            early. The signatures that classify then also give `exit`, `(batch,)` int32: which head answered, an index
            into the heads from the shallowest to `"main"`.
        summary: What to say about the training, a dict that JSON can hold.

    Returns:
        The path of the version.

    Raises:
        InputError: An argument is out of range, the version exists, or the model cannot be served.
        OSError: The folder cannot be written.
    """
    if not is_whole(top, 1):
        raise InputError(f"`top` must be a whole number of at least 1. Received: top={shown(top)}")
    try:
        training = files.to_json(dict(summary or {}))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`summary` must be a dict that JSON can hold ({error}). Received: {shown(summary)}"
        ) from error
    if on_bad_image not in ON_BAD_IMAGE:
        raise InputError(f"`on_bad_image` must be one of {ON_BAD_IMAGE}. Received: on_bad_image={on_bad_image!r}")
    check_model(model)
    heads = tuple(model.output_names) if all_heads else (MAIN,)
    run = _traced(frozen(serving_network(model, heads, precision)), model)

    def main_head(images: Tensor) -> dict[str, Tensor]:
        return {"probabilities": run(images)[MAIN]}

    facts = {
        "name": model.name,
        "architecture": architectures.of(model).name,
        "preprocessing": model.preprocessing,
        "resize": model.resize,
        "image_shape": list(model.input_shape[1:]),
        "precision": precision,
        "on_bad_image": on_bad_image,
        "training": training,
    }
    if exits is not None:
        facts["exit_names"] = list(early_exit_model(model, exits).exit_names)
    signatures = Signatures(
        main_head if exits is None else early_exit_network(model, exits, precision),
        run,
        model,
        top=top,
        on_bad_image=on_bad_image,
        heads=heads if all_heads else (),
        metadata=facts,
    )
    folder = files.named(folder, "folder")
    served = folder.absolute().name or "model"
    return versions.publish(lambda aside: _write(aside, signatures, served), folder, version)


def early_exit_network(
    model: InceptionModel, exits: ExitCalibration | float | Mapping[str, float], precision: str = "float32"
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Returns what an export with early exits computes.

    Args:
        model: A trained model with auxiliary heads.
        exits: As `export_saved_model` takes them.
        precision: `"float32"` or `"bfloat16"`, for weights and maps.

    Returns:
        A function of preprocessed images, `(batch, height, width, channels)`, that holds no variables and returns the
        dict of `EarlyExitModel`.

    Raises:
        InputError: The model has no auxiliary heads, or `exits` does not fit them.
    """
    exiting = early_exit_model(model, exits)
    return _traced(exiting.router(serving_network(model, exiting.heads_in_use, precision), frozen), model)


def _traced(network: Callable[[Tensor], dict[str, Tensor]], model: InceptionModel) -> Callable[..., Any]:
    """Returns a function of one trace, so that the graph has the weights once, however many signatures call it."""
    return tf.function(network, input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))], autograph=False)


class _Assets(tf.Module):
    """The files that travel with a SavedModel."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__()
        self.assets = [tf.saved_model.Asset(path) for path in paths]


def _write(folder: Path, signatures: Signatures, served: str) -> None:
    concrete = signatures.concrete()
    names, facts = signatures.model.class_labels, signatures.metadata
    with tempfile.TemporaryDirectory() as aside:
        module = _Assets(_assets(Path(aside), names, facts))
        tf.saved_model.save(module, os.fspath(folder), signatures=concrete)
    # A server that batches refuses a request without inputs, and would not load a version that warms up with one.
    warmup.write(folder, served, [name for name in concrete if name != "metadata"], signatures.image_shape)
    (folder / "README.md").write_text(card.text(served, names, facts, concrete), encoding="utf-8")
    checking.write_checksums(folder)


def _assets(folder: Path, names: list[str], facts: dict[str, Any]) -> list[str]:
    """Writes the files that travel as assets; returns their paths."""
    preprocessing = {name: facts[name] for name in ("preprocessing", "resize", "image_shape")}
    texts = {
        "class_names.txt": "".join(f"{name}\n" for name in names),
        "preprocessing.json": files.to_json(preprocessing) + "\n",
        "training.json": facts["training"] + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [os.fspath(folder / name) for name in texts]
