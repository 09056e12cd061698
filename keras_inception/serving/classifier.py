"""From image files to class names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_inception.data.decoding import why_unreadable
from keras_inception.data.images import read
from keras_inception.errors import InputError
from keras_inception.network.blocks import MAIN
from keras_inception.network.model import InceptionModel, gives_logits
from keras_inception.network.preprocess import check_mode
from keras_inception.network.views import inference_model
from keras_inception.types import Array, PathLike, Tensor

Answer = list[tuple[str, float]]


class Classifier:
    """One head of a trained model that answers with class names.

    Args:
        model: A trained model.
        head: The output that answers.

    Attributes:
        model: The model of that head alone.
        class_names: The names of the classes; their numbers where the model has no names.
    """

    def __init__(self, model: InceptionModel, head: str = MAIN) -> None:
        self.model: InceptionModel = inference_model(model, head)
        self.class_names: list[str] = self.model.class_labels
        self._image_shape = tuple(self.model.input_shape[1:])
        if None in self._image_shape:
            raise InputError(
                "A classifier scales images to the size of its network's input. Build the network with a fixed "
                f"`input_shape`. Received: a model with input_shape={self._image_shape}"
            )
        check_mode(self.model.preprocessing)
        self._logits = gives_logits(self.model, head)
        self._input = tf.function(
            lambda encoded: read(encoded, self._image_shape, self.model.preprocessing),
            input_signature=[tf.TensorSpec((), tf.string)],
        )
        self._forward = tf.function(lambda x: self.model(x, training=False), reduce_retracing=True)

    def predict(self, images: Tensor) -> Array:
        """Returns the probabilities of the classes for a batch of images.

        Args:
            images: `(batch, height, width, channels)`, the network's input after `preprocess_input`; a warning says
                where their range contradicts that.

        Returns:
            `(batch, classes)`, float32, rows that sum to 1.
        """
        images = tf.convert_to_tensor(images)
        self.model.look_at(images)
        return self._probabilities(images)

    def _probabilities(self, images: Tensor) -> Array:
        outputs = self._forward(images)
        return (tf.nn.softmax(outputs) if self._logits else outputs).numpy()

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
        """
        for start in range(0, len(paths), batch_size):
            part = paths[start : start + batch_size]
            images = [self.read(path) for path in part]
            readable = [image for image in images if not isinstance(image, str)]
            answers = iter(self._probabilities(tf.stack(readable)) if readable else ())
            for path, image in zip(part, images):
                yield path, image if isinstance(image, str) else self._top(next(answers), top)

    def read(self, path: PathLike) -> Tensor | str:
        """Returns the network's input of an image file, `(height, width, channels)`, or why it cannot be read."""
        try:
            encoded = Path(path).read_bytes()
        except OSError as error:
            return error.strerror
        try:
            return self._input(encoded)
        except tf.errors.OpError:
            return why_unreadable(encoded)

    def _top(self, probabilities: Array, top: int) -> Answer:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [(self.class_names[index], float(probabilities[index])) for index in order]
