"""What belongs to a network and goes with it: its architecture, the names of its classes, and what its images are."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from weakref import WeakKeyDictionary

import keras
import numpy as np

from keras_inception import architectures
from keras_inception.architectures import Architecture
from keras_inception.errors import InputError
from keras_inception.network.labels import check_class_names
from keras_inception.network.preprocess import check_mode, preprocess_input
from keras_inception.rules import argument, maybe, one_of
from keras_inception.types import Tensor

KNOWN = "known"  # in a weights file
MAYBE_ARCHITECTURE = maybe("an `Architecture`", lambda value: isinstance(value, Architecture))


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


class RecordedModel(keras.Model):
    """A Keras model that carries what is known of its network, into its files and out of them.

    Arguments beside those of `keras.Model` are the attributes; where they are left out, the layers say them.

    Attributes:
        record: The `Record`, shared with the models that share the layers.
        architecture, class_names, preprocessing, resize: See `InceptionModel`.
    """

    def __init__(
        self,
        *args: Any,
        architecture: Architecture | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: str | None = None,
        resize: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.record: Record = record_of(self)
        if self.record.class_names is not None and len(self.record.class_names) == self.classes:
            self.name_classes(self.record.class_names)
            self.record.class_names = None
        if architecture is not None:
            self.architecture = architecture
        if class_names is not None:
            self.class_names = class_names
        if preprocessing is not None:
            self.preprocessing = preprocessing
        if resize is not None:
            self.resize = resize

    @property
    def architecture(self) -> Architecture | None:
        return self.record.architecture

    @architecture.setter
    def architecture(self, architecture: Architecture | None) -> None:
        self.record.architecture = argument("architecture", architecture, MAYBE_ARCHITECTURE)

    @property
    def class_names(self) -> list[str] | None:
        found = {self.record.by_output.get(layer) for layer in self._output_layers()}
        names = found.pop()
        return None if found or names is None else list(names)

    @class_names.setter
    def class_names(self, class_names: Sequence[str] | None) -> None:
        self.name_classes(None if class_names is None else check_class_names(class_names, self.classes))

    def name_classes(self, names: tuple[str, ...] | None) -> None:
        """Sets the class names as they are, those of files of earlier versions too; `class_names` checks them."""
        for layer in self._output_layers():
            self.record.by_output[layer] = names

    def _output_layers(self) -> list[Any]:
        """Returns the layers that end in the classes, or the model where those are operations without a layer."""
        return [layer for layer in self.layers if layer.name in self.output_names] or [self]

    @property
    def preprocessing(self) -> str | None:
        return "pixels" if self.record.included else self.record.preprocessing

    @preprocessing.setter
    def preprocessing(self, preprocessing: str | None) -> None:
        if preprocessing is not None:
            check_mode(preprocessing)
        if self.record.included and preprocessing != "pixels":
            raise InputError(
                'The network preprocesses by itself: its `preprocessing` is "pixels". Build it without '
                f"`include_preprocessing` to feed it otherwise. Received: preprocessing={preprocessing!r}"
            )
        if not self.record.included:
            self.record.preprocessing = preprocessing

    @property
    def resize(self) -> str:
        return self.record.resize

    @resize.setter
    def resize(self, resize: str) -> None:
        self.record.resize = checked_resize(resize)

    @property
    def class_labels(self) -> list[str]:
        """The names of the classes, or their numbers where the model has no names."""
        return self.class_names or [str(index) for index in range(self.classes)]

    @property
    def classes(self) -> int:
        """The number of classes: the size of the last dimension of every output."""
        return self.outputs[0].shape[-1]

    def save_own_variables(self, store: Any) -> None:
        """Writes into a weights file what its images went through, and what its classes are called."""
        super().save_own_variables(store)
        store[KNOWN] = np.frombuffer(json.dumps(self.known()).encode(), "uint8")

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote, which the files of earlier versions lack."""
        stored = dict(store)
        known = stored.pop(KNOWN, None)
        super().load_own_variables(stored)
        if known is not None:
            known = read_known(known)
            if self.record.preprocessing is None:  # as where other layers come before the network
                known["preprocessing"] = None
            self._take(**known)

    def known(self) -> dict[str, Any]:
        """Returns what a weights file says besides weights."""
        record = self.record
        return {"class_names": self.class_names, "preprocessing": record.preprocessing, "resize": record.resize}

    def _take(self, class_names: Sequence[str] | None, preprocessing: str | None, resize: str) -> None:
        self.record.preprocessing, self.record.resize = preprocessing, resize
        if class_names is None or len(class_names) == self.classes:
            self.name_classes(None if class_names is None else tuple(class_names))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "architecture": None if self.architecture is None else self.architecture.to_dict(),
            "class_names": self.class_names,
            "preprocessing": self.preprocessing,
            "resize": self.resize,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        own = ("architecture", "class_names", "preprocessing", "resize")
        model = super().from_config({k: v for k, v in config.items() if k not in own}, custom_objects)
        # The first layer says it too, but not in the files of earlier versions, which took any names.
        model.record.architecture = architectures.saved(config["architecture"])
        model.name_classes(None if config["class_names"] is None else tuple(config["class_names"]))
        model.preprocessing = config["preprocessing"]
        model.resize = config.get("resize", "crop")  # the only one of earlier versions
        return model


def read_known(stored: Any) -> dict[str, Any]:
    """Returns what a `RecordedModel` writes into a weights file: `class_names`, `preprocessing` and `resize`."""
    known = json.loads(np.asarray(stored, "uint8").tobytes())
    return {name: known[name] for name in ("class_names", "preprocessing", "resize")}
