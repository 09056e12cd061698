"""What a served model answers to: its signatures, their inputs and outputs."""

import tensorflow as tf

from keras_inception.serving.export import requests
from keras_inception.serving.export.inference_graph import FEATURES

ON_BAD_IMAGE = ("error", "mask")


class Signatures:
    """The functions that are served.

    Args:
        network: A function from preprocessed images, `(batch, *image_shape)` float32, to a dict of tensors by output:
            `"probabilities"`, `(batch, classes)`, and any others with a first dimension of the batch, which the
            signatures that classify give as they are.
        parts: A function from the same images to a dict with `"features"` and, for `all_heads`, the softmax of each
            head.
        image_shape: `(height, width, channels)` of the network's input.
        preprocessing: The mode of `preprocess_input`.
        class_names: The names of the classes.
        top_k: How many classes to name.
        on_bad_image: `"error"` fails a request with an image that cannot be read, `"mask"` answers with NaN and empty
            names in its row.
        heads: The names of the heads of `all_heads`; empty for none.
        metadata: What the signature `metadata` returns besides the names of the classes: strings and numbers.
    """

    def __init__(
        self, network, parts, *, image_shape, preprocessing, class_names, top_k, on_bad_image, heads, metadata
    ):
        self._network = network
        self._parts = parts
        self._image_shape = tuple(image_shape)
        self._preprocessing = preprocessing
        self._class_names = list(class_names)
        self._top_k = min(top_k, len(self._class_names))
        self._on_bad_image = on_bad_image
        self._heads = list(heads)
        self._metadata = dict(metadata)

    def concrete(self):
        """Returns the signatures by name, as `tf.saved_model.save` takes them."""
        channels = self._image_shape[-1]
        pixels = {dtype: tf.TensorSpec((None, None, None, channels), dtype, "images") for dtype in ("float32", "uint8")}
        functions = {
            "serving_default": (self._classify_pixels, pixels["float32"]),
            "serving_uint8": (self._classify_pixels, pixels["uint8"]),
            FEATURES: (self._features, pixels["float32"]),
            "metadata": (self._describe, None),
        }
        if channels in (1, 3, 4):  # images of other kinds have no file format
            functions["serving_bytes"] = self._classify_files, tf.TensorSpec((None,), tf.string, "image_bytes")
        if self._heads:
            functions["all_heads"] = self._all_heads, pixels["float32"]
        return {
            name: tf.function(function, [] if spec is None else [spec], autograph=False).get_concrete_function()
            for name, (function, spec) in functions.items()
        }

    def _classify_pixels(self, images):
        return self._named(_of_batch(self._network(self._inputs(images)), tf.shape(images)[0]))

    def _classify_files(self, image_bytes):
        inputs, places = requests.from_files(image_bytes, self._image_shape, self._preprocessing)
        count = tf.size(image_bytes)
        if self._on_bad_image == "error":
            with tf.control_dependencies([_all_readable(places, count)]):
                inputs = tf.identity(inputs)
        answer = self._named(_of_batch(self._network(inputs), tf.shape(places)[0]))
        if self._on_bad_image == "error":
            return answer
        return {name: _in_place(rows, places, count) for name, rows in answer.items()}

    def _features(self, images):
        return {FEATURES: self._parts_of(images)[FEATURES]}

    def _all_heads(self, images):
        parts = self._parts_of(images)
        return {head: parts[head] for head in self._heads}

    def _describe(self):
        return {
            "class_names": tf.constant(self._class_names),
            **{name: tf.constant(value) for name, value in self._metadata.items()},
        }

    def _inputs(self, images):
        return requests.from_pixels(images, self._image_shape, self._preprocessing)

    def _parts_of(self, images):
        return _of_batch(self._parts(self._inputs(images)), tf.shape(images)[0])

    def _named(self, answer):
        scores, indices = tf.math.top_k(answer["probabilities"], self._top_k)
        return {**answer, "classes": tf.gather(tf.constant(self._class_names), indices), "scores": scores}


def _of_batch(outputs, count):
    """Returns the outputs without the row that stands for an empty batch."""
    return {name: rows[:count] for name, rows in outputs.items()}


def _all_readable(places, count):
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


def _in_place(rows, places, count):
    """Returns the rows at their places in the batch, and in the others NaN, an empty string or -1."""
    blank = float("nan") if rows.dtype.is_floating else "" if rows.dtype == tf.string else -1
    blanks = tf.fill(tf.concat([[count], tf.shape(rows)[1:]], 0), tf.constant(blank, rows.dtype))
    return tf.tensor_scatter_nd_update(blanks, places[:, None], rows)
