"""What a served model answers to: its signatures, their inputs and outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_inception.network.model import InceptionModel
from keras_inception.serving.export import requests
from keras_inception.serving.export.inference_graph import FEATURES
from keras_inception.types import Tensor

ON_BAD_IMAGE: tuple[str, ...] = ("error", "mask")


@dataclass(frozen=True)
class Signatures:
    """The functions that are served.

    Attributes:
        network: A function from preprocessed images to a dict with `"probabilities"` and whatever else the signatures
            that classify give, rows of the batch all.
        parts: A function from the same images to a dict with `"features"` and the softmax of each of `heads`.
        model: The trained model.
        top: How many classes to name; all where there are fewer.
        on_bad_image: `"error"` or `"mask"`; see `export_saved_model`.
        heads: The names of the heads of `all_heads`; empty for none.
        metadata: What the signature `metadata` returns besides the names of the classes: strings and numbers.
    """

    network: Callable[[Tensor], dict[str, Tensor]]
    parts: Callable[[Tensor], dict[str, Tensor]]
    model: InceptionModel
    top: int
    on_bad_image: str
    heads: tuple[str, ...]
    metadata: dict[str, Any]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of the network's input."""
        return tuple(self.model.input_shape[1:])

    def concrete(self) -> dict[str, Callable[..., Any]]:
        """Returns the signatures by name, as `tf.saved_model.save` takes them."""
        channels = self.image_shape[-1]
        pixels = {dtype: tf.TensorSpec((None, None, None, channels), dtype, "images") for dtype in ("float32", "uint8")}
        functions = {
            "serving_default": (self._classify_pixels, pixels["float32"]),
            "serving_uint8": (self._classify_pixels, pixels["uint8"]),
            FEATURES: (self._give(FEATURES), pixels["float32"]),
            "metadata": (self._describe, None),
        }
        if channels in (1, 3, 4):  # images of other kinds have no file format
            functions["serving_bytes"] = self._classify_files, tf.TensorSpec((None,), tf.string, "image_bytes")
        if self.heads:
            functions["all_heads"] = self._give(*self.heads), pixels["float32"]
        return {
            name: tf.function(function, [] if spec is None else [spec], autograph=False).get_concrete_function()
            for name, (function, spec) in functions.items()
        }

    def _classify_pixels(self, images: Tensor) -> dict[str, Tensor]:
        return self._named(_of_batch(self.network(self._inputs(images)), tf.shape(images)[0]))

    def _classify_files(self, image_bytes: Tensor) -> dict[str, Tensor]:
        inputs, places = requests.from_files(image_bytes, self.image_shape, self.model.preprocessing)
        count = tf.size(image_bytes)
        if self.on_bad_image == "error":
            with tf.control_dependencies([_all_readable(places, count)]):
                inputs = tf.identity(inputs)
        answer = self._named(_of_batch(self.network(inputs), tf.shape(places)[0]))
        if self.on_bad_image == "error":
            return answer
        return {name: _in_place(rows, places, count) for name, rows in answer.items()}

    def _give(self, *names: str) -> Callable[[Tensor], dict[str, Tensor]]:
        def parts(images: Tensor) -> dict[str, Tensor]:
            found = _of_batch(self.parts(self._inputs(images)), tf.shape(images)[0])
            return {name: found[name] for name in names}

        return parts

    def _describe(self) -> dict[str, Tensor]:
        said = {"class_names": self.model.class_labels, **self.metadata}
        return {name: tf.constant(value) for name, value in said.items()}

    def _inputs(self, images: Tensor) -> Tensor:
        return requests.from_pixels(images, self.image_shape, self.model.preprocessing)

    def _named(self, answer: dict[str, Tensor]) -> dict[str, Tensor]:
        scores, indices = tf.math.top_k(answer["probabilities"], min(self.top, len(self.model.class_labels)))
        return {**answer, "classes": tf.gather(tf.constant(self.model.class_labels), indices), "scores": scores}


def _of_batch(outputs: dict[str, Tensor], count: Tensor) -> dict[str, Tensor]:
    """Returns the outputs without the row that stands for an empty batch."""
    return {name: rows[:count] for name, rows in outputs.items()}


def _all_readable(places: Tensor, count: Tensor) -> Any:
    """Returns the operation that fails where some of `count` images are missing in `places`."""
    every = tf.range(tf.cast(count, tf.int64))
    is_missing = tf.reduce_all(every[:, None] != places[None, :], axis=1)
    return tf.debugging.Assert(
        ~tf.reduce_any(is_missing),
        [
            "`image_bytes` must be complete JPEG, PNG, BMP, GIF or WebP images. Not readable, by index in the batch:",
            tf.boolean_mask(every, is_missing),
        ],
        summarize=100,
    )


def _in_place(rows: Tensor, places: Tensor, count: Tensor) -> Tensor:
    """Returns the rows at their places in the batch, and in the others NaN, an empty string or -1."""
    blank = float("nan") if rows.dtype.is_floating else "" if rows.dtype == tf.string else -1
    blanks = tf.fill(tf.concat([[count], tf.shape(rows)[1:]], 0), tf.constant(blank, rows.dtype))
    return tf.tensor_scatter_nd_update(blanks, places[:, None], rows)
