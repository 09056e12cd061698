"""What a served model answers to: its signatures, their inputs and outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf

from keras_inception.network.model import InceptionModel
from keras_inception.serving.export import requests
from keras_inception.serving.export.inference_graph import FEATURES
from keras_inception.types import Tensor

Outputs: TypeAlias = dict[str, Tensor]
Network: TypeAlias = Callable[[Tensor], Outputs]

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

    network: Network
    parts: Network
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
            "serving_default": (self._answer(self._classify, requests.from_pixels), pixels["float32"]),
            "serving_uint8": (self._answer(self._classify, requests.from_pixels), pixels["uint8"]),
            FEATURES: (self._answer(self._give(FEATURES), requests.from_pixels), pixels["float32"]),
            "metadata": (self._describe, None),
        }
        if channels in (1, 3, 4):  # images of other kinds have no file format
            files = tf.TensorSpec((None,), tf.string, "image_bytes")
            functions["serving_bytes"] = self._answer(self._classify, requests.from_files), files
        if self.heads:
            functions["all_heads"] = self._answer(self._give(*self.heads), requests.from_pixels), pixels["float32"]
        return {
            name: tf.function(function, [] if spec is None else [spec], autograph=False).get_concrete_function()
            for name, (function, spec) in functions.items()
        }

    def _answer(self, network: Network, read: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[Tensor], Outputs]:
        """Returns a signature's function: what the network says of the images that can be read of a request."""

        def answer(images: Tensor) -> Outputs:
            inputs, places = read(images, self.image_shape, self.model.preprocessing, self.model.resize)
            count = tf.shape(images)[0]
            if self.on_bad_image == "error":
                with tf.control_dependencies([_all_readable(places, count, images.dtype)]):
                    inputs = tf.identity(inputs)
            answers = {name: rows[: tf.shape(places)[0]] for name, rows in network(inputs).items()}
            if self.on_bad_image == "error":
                return answers
            return {name: _in_place(rows, places, count) for name, rows in answers.items()}

        return answer

    def _classify(self, inputs: Tensor) -> Outputs:
        answer = self.network(inputs)
        scores, indices = tf.math.top_k(answer["probabilities"], min(self.top, len(self.model.class_labels)))
        return {**answer, "classes": tf.gather(tf.constant(self.model.class_labels), indices), "scores": scores}

    def _give(self, *names: str) -> Network:
        def parts(inputs: Tensor) -> Outputs:
            found = self.parts(inputs)
            return {name: found[name] for name in names}

        return parts

    def _describe(self) -> dict[str, Tensor]:
        said = {"class_names": self.model.class_labels, **self.metadata}
        return {name: tf.constant(value) for name, value in said.items()}


def _all_readable(places: Tensor, count: Tensor, dtype: tf.DType) -> Any:
    """Returns the operation that fails where some of `count` images are missing in `places`."""
    every = tf.range(tf.cast(count, tf.int64))
    is_missing = tf.reduce_all(every[:, None] != places[None, :], axis=1)
    rule = (
        "`image_bytes` must be complete JPEG, PNG, BMP, GIF or WebP images. Not readable"
        if dtype == tf.string
        else "`images` must be pixels from 0 to 255, as they are before any preprocessing. Not such"
    )
    return tf.debugging.Assert(
        ~tf.reduce_any(is_missing),
        [f"{rule}, by index in the batch:", tf.boolean_mask(every, is_missing)],
        summarize=100,
    )


def _in_place(rows: Tensor, places: Tensor, count: Tensor) -> Tensor:
    """Returns the rows at their places in the batch, and in the others NaN, an empty string or -1."""
    blank = float("nan") if rows.dtype.is_floating else "" if rows.dtype == tf.string else -1
    blanks = tf.fill(tf.concat([[count], tf.shape(rows)[1:]], 0), tf.constant(blank, rows.dtype))
    return tf.tensor_scatter_nd_update(blanks, places[:, None], rows)
