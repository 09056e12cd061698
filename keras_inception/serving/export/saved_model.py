"""A trained model as a numbered SavedModel that TensorFlow Serving takes as it is."""

import json
import os
import tempfile
from pathlib import Path

import tensorflow as tf

from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.serving.export import card, versions, warmup
from keras_inception.serving.export.inference_graph import frozen, serving_network
from keras_inception.serving.export.signatures import ON_BAD_IMAGE, Signatures


def export_saved_model(
    model,
    directory,
    version=None,
    *,
    precision="float32",
    top_k=5,
    on_bad_image="error",
    all_heads=False,
    summary=None,
    network=None,
):
    """Writes a trained model as the next version of a SavedModel, `directory/1`, `directory/2`, and so on.

    A server that polls the directory sees the version whole or not at all, and no version is ever replaced. All
    signatures take any number of images, 0 included, and decode, resize and preprocess them in the graph as
    `keras-inception predict` does:

    - `serving_default`: `images`, `(batch, height, width, channels)` float32 of any height and width, [0, 255];
    - `serving_uint8`: the same as uint8;
    - `serving_bytes`: `image_bytes`, `(batch,)` strings, JPEG, PNG, BMP, GIF or WebP files;
    - `features`: `images` as in `serving_default`; gives `features`, `(batch, 1024)`, the pooled features below the
      classifier;
    - `all_heads`, where asked for: `images` as in `serving_default`; gives the softmax of each head by its name;
    - `metadata`: no input; names of the classes, preprocessing, and what is known of the training.

    The first three give `probabilities`, `(batch, classes)`, `classes`, `(batch, top_k)`, the names of the likeliest
    classes, and `scores`, `(batch, top_k)`, their probabilities. Beside the graph the version holds a model card
    (`README.md`), class names, preprocessing and training as assets, and warm-up requests for all that have an input.

    Args:
        model: A trained `InceptionModel`.
        directory: The folder of the versions.
        version: The number of the version; by default one more than the highest, or 1.
        precision: `"float32"`, or `"bfloat16"` for weights and maps of 16 bits, which is faster on processors that
            compute with them. What goes in and comes out is float32.
        top_k: The number of classes in `classes` and `scores`, at least 1; all where there are fewer.
        on_bad_image: What happens to a request of `serving_bytes` with an image that cannot be read: `"error"` fails
            it with the index of the image, `"mask"` answers with NaN and empty names in that image's row.
        all_heads: Whether to serve the auxiliary heads in the signature `all_heads`; without it nothing of them is in
            the graph.
        summary: What to say about the training, a dict that JSON can hold.
        network: What classifies in the place of the model's main head: a function from preprocessed images,
            `(batch, height, width, channels)` float32, to a dict of tensors: `"probabilities"`, `(batch, classes)`,
            and any others with the batch first, which become further outputs. It must hold no variables, see
            `frozen`.

    Returns:
        The path of the version.

    Raises:
        ValueError: An argument is out of range, the version exists, or the model cannot be served.
        OSError: The folder cannot be written.
    """
    _check(model, top_k, on_bad_image)
    names = model.class_names or [str(index) for index in range(model.classes)]
    heads = model.output_names if all_heads else (MAIN,)
    run = tf.function(
        frozen(serving_network(model, heads, precision)),
        input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))],
        autograph=False,
    )  # of one trace, so that the graph has the weights once
    facts = {
        "name": model.name,
        "architecture": str(model.architecture),
        "preprocessing": model.preprocessing,
        "image_shape": list(model.input_shape[1:]),
        "precision": precision,
        "on_bad_image": on_bad_image,
        "training": json.dumps(summary or {}),
    }
    signatures = Signatures(
        network or (lambda images: {"probabilities": run(images)[MAIN]}),
        run,
        image_shape=model.input_shape[1:],
        preprocessing=model.preprocessing,
        class_names=names,
        top_k=top_k,
        on_bad_image=on_bad_image,
        heads=heads if all_heads else (),
        metadata=facts,
    )
    served = Path(directory).name or "model"
    return versions.publish(lambda folder: _write(folder, signatures, names, facts, served), directory, version)


def _check(model, top_k, on_bad_image):
    if None in model.input_shape[1:]:
        raise InputError(
            "An export scales images to the size of its network's input. Build the network with a fixed "
            f"`input_shape`. Received: a model with input_shape={model.input_shape[1:]}"
        )
    if MAIN not in model.output_names:
        raise InputError(
            "An export needs the main head, which classifies. Build the network with `include_top=True`. "
            f"Received: a model with the outputs {model.output_names}"
        )
    if not isinstance(top_k, int) or top_k < 1:
        raise InputError(f"`top_k` must be a whole number of at least 1. Received: top_k={top_k!r}")
    if on_bad_image not in ON_BAD_IMAGE:
        raise InputError(f"`on_bad_image` must be one of {ON_BAD_IMAGE}. Received: on_bad_image={on_bad_image!r}")


def _write(folder, signatures, names, facts, served):
    concrete = signatures.concrete()
    with tempfile.TemporaryDirectory() as aside:
        module = tf.Module()
        module.assets = [tf.saved_model.Asset(path) for path in _assets(Path(aside), names, facts)]
        tf.saved_model.save(module, os.fspath(folder), signatures=concrete)
    # A server that batches refuses a request without inputs, and would not load a version that warms up with one.
    asked = [name for name in concrete if name != "metadata"]
    warmup.write(folder, served, [(name, _request(name, facts["image_shape"])) for name in asked])
    (folder / "README.md").write_text(card.text(served, names, facts, concrete), encoding="utf-8")


def _assets(folder, names, facts):
    """Writes the files that travel as assets; returns their paths."""
    preprocessing = {name: facts[name] for name in ("preprocessing", "image_shape")}
    texts = {
        "class_names.txt": "".join(f"{name}\n" for name in names),
        "preprocessing.json": json.dumps(preprocessing, indent=2) + "\n",
        "training.json": facts["training"] + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [os.fspath(folder / name) for name in texts]


def _request(signature, image_shape):
    """Returns the inputs of a request with one image."""
    if signature == "serving_bytes":
        return {"image_bytes": [warmup.encoded_picture(image_shape)]}
    return {"images": warmup.picture(image_shape)[None].astype("uint8" if signature == "serving_uint8" else "float32")}
