"""What belongs to a network and goes with it: its architecture, the names of its classes, and what its images are."""

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import keras

from keras_inception import architectures
from keras_inception.architectures import Architecture
from keras_inception.network.preprocess import preprocess_input
from keras_inception.rules import argument, one_of
from keras_inception.types import Tensor


@dataclass
class Record:
    """What is known of a network, and shared by all models that share its layers.

    Names of classes are those of the layers that end in these classes: a model with other outputs on the same layers
    has its own.

    Attributes:
        architecture: The `Architecture`; None where it is not known.
        class_names: The names of the classes in the order of the outputs, of a network that was just read and whose
            outputs are not known yet; None where it has no names.
        preprocessing: The mode of `preprocess_input` that its weights learned from; None where it is not known.
        included: Whether the network does that preprocessing itself.
        resize: How images of another aspect ratio became its input: "crop", "pad" or "stretch".
    """

    architecture: Architecture | None = None
    class_names: tuple[str, ...] | None = None
    preprocessing: str | None = None
    included: bool = False
    resize: str = "crop"
    by_output: WeakKeyDictionary[Any, tuple[str, ...] | None] = field(default_factory=WeakKeyDictionary)

    def all_class_names(self) -> list[str] | None:
        """Returns the names of the classes if all outputs that have names have the same."""
        found = {names for names in (self.class_names, *self.by_output.values()) if names is not None}
        return list(found.pop()) if len(found) == 1 else None


@keras.saving.register_keras_serializable(package="keras_inception")
class Preprocessing(keras.layers.Layer):
    """The first layer of a network: its preprocessing where the network was built to take pixels, otherwise nothing.

    It holds the network's `Record`, which so is in every copy that Keras makes of the graph, layer by layer.
    Arguments are those of the record, JSON's types from a configuration included.
    """

    def __init__(
        self,
        architecture: Any = None,
        class_names: Any = None,
        preprocessing: str | None = None,
        included: bool = False,
        data_format: str | None = None,
        resize: str = "crop",
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)  # pixels of 8 bits and their fractions do not fit into bfloat16
        names = None if class_names is None else tuple(class_names)
        self.record = Record(architectures.saved(architecture), names, preprocessing, included, resize)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format

    def call(self, inputs: Tensor) -> Tensor:
        if not self.record.included:
            return inputs
        return preprocess_input(inputs, self.data_format, preprocessing=self.record.preprocessing)

    def get_config(self) -> dict[str, Any]:
        record = self.record
        return {
            **super().get_config(),
            "architecture": None if record.architecture is None else record.architecture.to_dict(),
            "class_names": record.all_class_names(),
            "preprocessing": record.preprocessing,
            "included": record.included,
            "data_format": self.data_format,
            "resize": record.resize,
        }


def checked_resize(resize: str) -> str:
    """Returns the mode of `data.resize`; raises an `InputError` if there is none of that name."""
    return argument("resize", resize, one_of(architectures.RESIZES))


def record_of(model: keras.Model) -> Record:
    """Returns what is known of a model's network: ours, or one that Keras built of its layers. Of others, nothing."""
    if isinstance(record := getattr(model, "record", None), Record):
        return record
    layers = [layer for layer in getattr(model, "layers", ()) if isinstance(layer, Preprocessing)]
    return layers[0].record if len(layers) == 1 else Record()
