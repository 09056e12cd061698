"""What each head looks at: Grad-CAM of the main head and of the auxiliary heads.

Reference: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
arXiv:1610.02391, section 3.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.evaluation.measures import no_numbers
from keras_inception.network.checks import check_finite, check_images, gives_logits
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.network.views import features
from keras_inception.types import Array, Tensor


@dataclass(frozen=True)
class Explanation:
    """What one head says about an image, and where it looks for it.

    Attributes:
        head: The output's name.
        top: The likeliest classes, pairs of name and probability, the likeliest first.
        class_name: The class that the map explains.
        probability: The head's probability of that class.
        heatmap: `(height, width)` of the image, float32 in [0, 1]: 1 where the head finds most of the class, 0 where it
            finds nothing that speaks for it. 0 everywhere if it finds nothing at all.
    """

    head: str
    top: list[tuple[str, float]]
    class_name: str
    probability: float
    heatmap: Array


def explain(
    model: InceptionModel, image: Tensor, *, class_name: str | int | None = None, top: int = 5
) -> list[Explanation]:
    """Explains the answer of every head of a model to one image: its likeliest classes, and a Grad-CAM map.

    The map of a head is that of the row it reads: the paper's 5b for the main head, 4a for aux1, 4d for aux2. Its
    channels are weighted by the mean over all places of the gradient of the class's score before the softmax, summed,
    cut off at 0, scaled bilinearly to the image and divided by the maximum.

    Args:
        model: A trained model of any heads at any rows, with softmax outputs or logits.
        image: `(height, width, channels)`, the network's input after `preprocess_input`.
        class_name: The class to explain, by its name, or by its number where the model has no names; by default each
            head's likeliest.
        top: How many of the likeliest classes to name, at least 1.

    Returns:
        One for each head, in the order of the outputs.

    Raises:
        InputError: The model has no heads or no such class, or the image or `top` does not fit.

    Reference: Selvaraju et al., arXiv:1610.02391, equations 1 and 2.
    """
    check_model(model)
    check_finite(model)
    try:
        image = tf.cast(tf.convert_to_tensor(image), tf.float32)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise InputError(f"`image` must be an array of numbers. Received: {type(image).__name__}") from error
    names = model.class_labels
    _check(model, image, names, class_name, top)
    check_images(image[None])
    model.look_at(image[None])
    network = _maps_and_logits(model)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)  # so that everything is recorded, also in a network whose weights are frozen
        outputs = network(image[None], training=False)
        chosen = {}
        for head in model.output_names:
            logits = outputs[head]["logits"][0]
            index = int(tf.argmax(logits)) if class_name is None else names.index(str(class_name))
            chosen[head] = index, logits[index]
    found = []
    for head, (index, score) in chosen.items():
        activations = outputs[head]["map"]
        heatmap = _heatmap(activations, tape.gradient(score, activations), image.shape[:2])
        probabilities = tf.nn.softmax(tf.cast(outputs[head]["logits"][0], tf.float32)).numpy()
        if not np.isfinite([probabilities.sum(), heatmap.sum()]).all():
            raise no_numbers(f"not-a-number from head {head!r}")
        order = np.argsort(-probabilities, kind="stable")[:top]
        likeliest = [(names[i], float(probabilities[i])) for i in order]
        found.append(Explanation(head, likeliest, names[index], float(probabilities[index]), heatmap))
    return found


def _check(model: InceptionModel, image: Tensor, names: list[str], class_name: str | int | None, top: int) -> None:
    if keras.config.image_data_format() != "channels_last":
        raise InputError(
            "Grad-CAM reads images `(height, width, channels)`. Build the network under "
            '`keras.config.set_image_data_format("channels_last")`. '
            f"Received: image_data_format={keras.config.image_data_format()!r}"
        )
    if not set(model.output_names) <= set(architectures.of(model).heads):
        raise InputError(
            "`model` must end in classifiers, as `GoogLeNet(include_top=True)` does. "
            f"Received: a model with outputs {list(model.output_names)}"
        )
    for head in model.output_names:
        gives_logits(model, head)  # refuses other activations
    expected = model.input_shape[1:]
    if image.shape.rank != 3 or any(size not in (None, own) for size, own in zip(expected, image.shape)):
        raise InputError(f"`image` must be one image of shape {expected}. Received: image.shape={tuple(image.shape)}")
    if class_name is not None and str(class_name) not in names:
        raise InputError(
            f"`class_name` must be one of the model's {len(names)} classes, {', '.join(names[:10])}"
            f"{', ...' if len(names) > 10 else ''}. Received: class_name={class_name!r}"
        )
    if top < 1:
        raise InputError(f"`top` must be at least 1. Received: top={top}")


def _maps_and_logits(model: InceptionModel) -> InceptionModel:
    """Returns the network that gives, by head, the map before the head and the input of its softmax."""
    taps = architectures.of(model).taps
    maps = features(model, sorted({taps[head] for head in model.output_names})).output
    outputs = {head: {"map": maps[taps[head]], "logits": model.get_layer(head).input} for head in model.output_names}
    return InceptionModel(model.input, outputs, architecture=model.architecture, preprocessing=model.preprocessing)


def _heatmap(activations: Tensor, gradient: Tensor, size: tuple[int, int]) -> Array:
    """Returns the map, `(height, width)`, of activations and their gradient, `(1, map height, map width, channels)`."""
    weights = tf.reduce_mean(tf.cast(gradient, tf.float32), axis=(1, 2), keepdims=True)  # (1, 1, 1, channels)
    heatmap = tf.nn.relu(tf.reduce_sum(weights * tf.cast(activations, tf.float32), axis=-1, keepdims=True))
    heatmap = tf.image.resize(heatmap, size)[0, ..., 0].numpy()
    return heatmap / heatmap.max() if heatmap.max() > 0 else heatmap
