"""What the weights of a network begin with: initializers of Keras, and how they are written as a text."""

import difflib
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_inception.errors import InputError, shown

# Kernels of a convolution and of a linear layer; biases.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "kernel_initializer": ((3, 3, 2, 4), (6, 4)),
    "bias_initializer": ((4,),),
}


@dataclass(frozen=True)
class InitialWeights:
    """What the weights of a network begin with.

    Attributes:
        kernel: The initializer of all kernels; None for He's normal, and Glorot's uniform in the classifiers.
        bias: That of the biases of convolutions and of the auxiliary heads' hidden layers; None for zeros. The biases
            of the classifiers are zeros always, as BVLC has them.
    """

    kernel: keras.Initializer | None = None
    bias: keras.Initializer | None = None

    def of_hidden(self, *, use_bias: bool = True) -> dict[str, Any]:
        """Returns the arguments of one convolution, or of one linear layer before a ReLU."""
        # An initializer of its own for each layer: one for all would draw the same numbers again.
        kernel: Any = "he_normal" if self.kernel is None else self.kernel.clone()
        found = {"kernel_initializer": kernel}
        return found if self.bias is None or not use_bias else found | {"bias_initializer": self.bias.clone()}

    def of_classifier(self) -> dict[str, Any]:
        """Returns the arguments of one classifier."""
        return {} if self.kernel is None else {"kernel_initializer": self.kernel.clone()}


def initializer(argument: str, value: Any) -> keras.Initializer | None:
    """Returns the initializer that an argument means.

    Args:
        argument: Its name, "kernel_initializer" or "bias_initializer".
        value: A name of Keras's, such as "lecun_uniform"; with arguments, such as "random_normal(stddev=0.01)" or
            "constant(value=0.2)"; the config of an initializer, or one itself; None for none.

    Raises:
        InputError: It means none that can make such weights, or one with a seed, of which layers of the same shape
            would begin alike.
    """
    if value is None:
        return None
    state = random.getstate()  # from which Keras draws a seed for each initializer
    try:
        found = keras.initializers.get(_config(value) if isinstance(value, str) else value)
        if not isinstance(found, keras.Initializer):
            raise TypeError("it is no `keras.Initializer`")
        if found.get_config().get("seed") is not None:
            raise ValueError("it has a seed, and layers of one shape would begin alike: `set_random_seed` seeds all")
        for shape in SHAPES[argument]:
            weights = keras.ops.convert_to_numpy(found.clone()(shape, "float32"))
            if weights.shape != shape or not np.isfinite(weights).all():
                raise ValueError("its weights are not finite numbers of the shape that is asked for")
    except Exception as error:  # Keras has no end of classes for what is wrong with a config
        raise InputError(
            f"`{argument}` must be the name of an initializer of Keras, such as {_EXAMPLES[argument]}, or in Python an "
            f"initializer or its config. {_hint(value, error)}Received: {argument}={shown(value)}"
        ) from error
    finally:
        random.setstate(state)
    return found


_EXAMPLES = {
    "kernel_initializer": '"lecun_uniform" or "random_normal(stddev=0.01)"',
    "bias_initializer": '"zeros" or "constant(value=0.2)"',
}


def _config(text: str) -> dict[str, Any]:
    """Returns as Keras's config what is written as "random_normal(stddev=0.01)"."""
    whole = re.fullmatch(r"(\w+)(?:\(([^()]*)\))?", text.strip())
    if whole is None:
        raise ValueError("it is not of the form name(argument=value, ...)")
    pairs = [pair.partition("=") for pair in whole[2].split(",")] if whole[2] else []
    return {"class_name": whole[1], "config": {name.strip(): _value(text) for name, _, text in pairs}}


def _value(text: str) -> Any:
    text = text.strip().strip("\"'")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _hint(value: Any, error: Exception) -> str:
    """Returns the name that was probably meant, or what is wrong with the rest, as a sentence."""
    name = value.get("class_name") if isinstance(value, Mapping) else value
    name = re.sub(r"\W.*", "", name.strip()) if isinstance(name, str) else ""
    known = {key for key, kind in vars(keras.initializers).items() if _is_kind(kind)}
    if name and name not in known:
        close = difflib.get_close_matches(name[:99], sorted(known), 1)
        if close:
            return f"Did you mean {close[0]}? "
    reason = " ".join(str(error).split())
    return f"This one does not do: {reason[:200]}. " if name in known or not isinstance(value, str) else ""


def _is_kind(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, keras.Initializer) and value is not keras.Initializer
