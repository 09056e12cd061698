"""From image files to class names."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from keras_inception.data.decoding import decode_or_say_why
from keras_inception.data.image_files import read_bytes
from keras_inception.data.images import read
from keras_inception.errors import InputError, shown
from keras_inception.network.blocks import MAIN
from keras_inception.network.checks import check_finite, check_image_shape, check_input, gives_logits
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.network.preprocess import check_mode
from keras_inception.network.views import inference_model
from keras_inception.rules import SWITCH, argument, is_whole
from keras_inception.training import runs
from keras_inception.types import Array, PathLike, Tensor

Answer = list[tuple[str, float]]


class Classifier:
    """One head of a trained model that answers with class names. It can be copied, and pickled for other processes.

    Args:
        model: A trained model, or the path of a run's folder or of a `.keras` file.
        head: The output that answers.
        run_eagerly: Whether to compute without graphs. The first answer comes some seconds earlier, for nothing is
            traced, and each further one later.

    Attributes:
        model: The model of that head alone.
        class_names: The names of the classes; their numbers where the model has no names.

    Raises:
        InputError: It is no such model or path, has no such head or no fixed image size, or holds weights that are not
            finite.
    """

    def __init__(self, model: InceptionModel | PathLike, head: str = MAIN, *, run_eagerly: bool = False) -> None:
        if isinstance(model, (str, os.PathLike)):
            model = runs.load_model(model, compiled=False)
        check_model(model)
        self.model: InceptionModel = model if model.output_names == [head] else inference_model(model, head)
        check_finite(self.model)
        self._head, self._run_eagerly = head, argument("run_eagerly", run_eagerly, SWITCH)
        self.class_names: list[str] = self.model.class_labels
        check_image_shape(self.model)
        self._image_shape = tuple(self.model.input_shape[1:])
        check_mode(self.model.preprocessing)
        self._logits = gives_logits(self.model, head)

        def to_input(encoded: Tensor) -> Tensor:
            return read(encoded, self._image_shape, self.model.preprocessing, self.model.resize)

        def forward(images: Tensor) -> Tensor:
            return self.model(images, training=False)

        self._input: Any = to_input
        self._forward: Any = forward
        if not run_eagerly:
            self._input = tf.function(to_input, [tf.TensorSpec((), tf.string)], autograph=False)
            self._forward = tf.function(forward, autograph=False, reduce_retracing=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), run_eagerly=self._run_eagerly), (self.model, self._head)

    def predict(self, images: Tensor) -> Array:
        """Returns the probabilities of the classes for a batch of images.

        Args:
            images: `(batch, height, width, channels)`, the network's input after `preprocess_input`; a warning says
                where their range contradicts that.

        Returns:
            `(batch, classes)`, float32, rows that sum to 1.

        Raises:
            InputError: The images have another shape, or they or the weights hold what is no finite number.
        """
        try:
            images = tf.cast(tf.convert_to_tensor(images), tf.float32)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise InputError(f"`images` must be an array of numbers. Received: {type(images).__name__}") from error
        check_finite(self.model)  # it may have been trained on
        check_input(self.model, images)
        self.model.look_at(images)
        return self._probabilities(images)

    def _probabilities(self, images: Tensor) -> Array:
        if not len(images):  # oneDNN's fused convolutions crash
            return np.zeros((0, self.model.classes), "float32")
        outputs = self._forward(images)
        probabilities = (tf.nn.softmax(outputs) if self._logits else outputs).numpy()
        if not np.isfinite(probabilities).all():
            raise InputError("The network's answers overflow. Received: images whose probabilities are not finite")
        return probabilities

    def predict_files(
        self, paths: Sequence[PathLike], *, top: int = 3, batch_size: int = 32
    ) -> Iterator[tuple[PathLike, Answer | str]]:
        """Yields the top classes of image files, in their order.

        Args:
            paths: Paths of JPEG, PNG, BMP, GIF or WebP files.
            top: How many classes.
            batch_size: How many images to compute at once.

        Yields:
            Pairs of path and answer: a list of `(class name, probability)`, the most probable first, or a string that
            says why the file cannot be read.

        Raises:
            InputError: An argument is of the wrong type or out of range, the network's input has other than 1, 3 or 4
                channels, or its probabilities overflow.
        """
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise InputError(f"`paths` must be a list of paths. Received: paths={shown(paths)}")
        for name, number in (("top", top), ("batch_size", batch_size)):
            if not is_whole(number, 1):
                raise InputError(f"`{name}` must be a whole number of at least 1. Received: {name}={shown(number)}")
        check_finite(self.model)
        for start in range(0, len(paths), batch_size):
            part = paths[start : start + batch_size]
            images = [self.read(path) for path in part]
            readable = [image for image in images if not isinstance(image, str)]
            answers = iter(self._probabilities(tf.stack(readable)) if readable else ())
            for path, image in zip(part, images):
                yield path, image if isinstance(image, str) else self._top(next(answers), top)

    def read(self, path: PathLike) -> Tensor | str:
        """Returns the network's input of an image file, `(height, width, channels)`, or why it cannot be read.

        Raises:
            InputError: The network's input has other than 1, 3 or 4 channels.
        """
        if self._image_shape[-1] not in (1, 3, 4):
            raise InputError(
                "Image files have 1, 3 or 4 channels. Give arrays to `predict`, or use a network of as many. "
                f"Received: a model with input_shape={self._image_shape}"
            )
        try:
            encoded = read_bytes(path)
        except InputError as error:
            return str(error)
        try:
            return self._input(encoded)
        except tf.errors.OpError:
            reason = decode_or_say_why(encoded)
            if isinstance(reason, str):
                return reason
            raise

    def _top(self, probabilities: Array, top: int) -> Answer:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [(self.class_names[index], float(probabilities[index])) for index in order]
