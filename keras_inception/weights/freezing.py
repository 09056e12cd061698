"""Which rows of a network learn."""

from typing import TypeVar

import keras

from keras_inception import architectures
from keras_inception.errors import InputError
from keras_inception.rules import plain

Model = TypeVar("Model", bound=keras.Model)


def freeze(model: Model, through: str | None) -> Model:
    """Freezes the trunk up to and including a row of the architecture, and lets the rows after it and all heads learn.

    The usual way of fine-tuning: freeze through a late row, train the rest and the new classifiers, then call it again
    with an earlier row. What is frozen depends on the last call alone.

    In frozen rows batch normalization runs in inference mode, also during `fit`: it uses its moving statistics and
    leaves them as they are. All heads go on learning, but for the main one with `through="main"`: then the auxiliary
    heads alone learn, as exits of a network that stays what it is. One that is tapped within the frozen rows (with
    `through="inception_4e"` both auxiliary heads are) learns from fixed features and changes nothing but itself;
    build the model with `aux_heads=False`, or give the head's loss a weight of 0, to save its time.

    A compiled model is compiled again with the same settings, which Keras needs to notice the change; its optimizer
    starts anew. Other models that share the layers, such as those of `inference_model`, see the change when they
    are compiled the next time.

    Args:
        model: What `GoogLeNet` returned, or a model that says its `architecture` and has the layers of its trunk.
        through: The name of the last row to freeze, such as `"inception_4e"`; `"main"` for the trunk and the main head;
            None freezes nothing.

    Returns:
        The model.

    Raises:
        InputError: The model does not know its architecture, or that has no such row.
    """
    architecture = architectures.of(model)
    main = architecture.heads[0]
    parts = [*(row.name for row in architecture.rows), main]
    if through is not None and plain(through) not in parts:
        raise InputError(
            f"`through` must be None or a row of {architecture.name!r}: {', '.join(parts[:-1])}, or {main!r}. "
            f"Received: through={through!r}"
        )
    frozen = parts[: parts.index(through) + 1] if through is not None else []
    compilation = model.get_compile_config() if model.compiled else None
    for layer in model.layers:
        part = architecture.owner(layer.name)
        part = main if part == "linear" else part
        if part in parts:
            layer.trainable = part not in frozen
    if compilation is not None:
        model.compile_from_config(compilation)
    return model
