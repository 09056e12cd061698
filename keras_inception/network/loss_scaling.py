"""The loss scaling that float16 needs."""

from typing import Any

import keras


def scaling(optimizer: Any, model: keras.Model) -> Any:
    """Returns an optimizer with loss scaling where a model computes in float16, and otherwise as it is.

    Keras decides by the policy that is set when the model is built: of a model that is loaded, or built anew on other
    layers, that is not the one that its layers compute in.

    Args:
        optimizer: One of Keras, its name, or None for a model that will not be trained.
        model: What it will train.
    """
    if optimizer is None or not _computes_in_float16(model):
        return optimizer
    optimizer, scaled = keras.optimizers.get(optimizer), keras.optimizers.LossScaleOptimizer
    return optimizer if isinstance(optimizer, scaled) else scaled(optimizer, name="loss_scale_optimizer")


def _computes_in_float16(model: keras.Model) -> bool:
    """Returns whether a layer of a model, or of a model within it, has the policy "mixed_float16"."""
    layers = [*model.layers, model]
    return any(
        layer.dtype_policy.name == "mixed_float16"
        or (layer is not model and isinstance(layer, keras.Model) and _computes_in_float16(layer))
        for layer in layers
    )
