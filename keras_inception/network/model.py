"""The model whose heads all learn from the same label."""

import inspect
import math
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_inception import files, undocumented
from keras_inception.architectures import described
from keras_inception.errors import InputError, MissingFileError, shortened
from keras_inception.network import losses
from keras_inception.network.checks import (
    as_numpy,
    channels_come_first,
    check_finite,
    check_images,
    check_shape,
    check_some,
    count_not_finite,
)
from keras_inception.network.labels import check_weights, class_weight_by_index
from keras_inception.network.logs import OtherNames, other_names
from keras_inception.network.loss_scaling import scaling
from keras_inception.network.loss_weights import LogLossWeights, check_loss_weights
from keras_inception.network.preprocess import contradiction
from keras_inception.network.record import RecordedModel
from keras_inception.network.replicas import replica_count
from keras_inception.network.sizes import check_memory, minimum_image_size
from keras_inception.rules import COUNT, argument, plain
from keras_inception.types import PathLike, Tensor

if keras.backend.backend() == "tensorflow":
    from keras_inception.network.tensorflow_step import TensorFlowStep as Step
else:
    from keras_inception.network.portable_step import PortableStep as Step  # type: ignore[assignment]  # one of them


@keras.saving.register_keras_serializable(package="keras_inception")
class InceptionModel(RecordedModel, Step):
    """A functional model whose heads all learn from the same label.

    It is a `keras.Model` with `output_names` such as `["main", "aux1", "aux2"]`, except that

    - labels and sample weights that come once, as in ordinary `(image, label)` data, serve every head; labels per head
      (a list in the order of the outputs, or a dict by their names) work too;
    - labels that name no class, and weights of examples that are not finite or below 0, are refused before the step
      that would learn from them, in every batch of any data; of arrays before the first step;
    - images whose range contradicts `preprocessing` are reported with a warning: the first batch of each call of `fit`,
      `evaluate` and `predict` is looked at;
    - `compile` takes one loss and one list of metrics for all heads, or one per head;
    - the logged loss of each head is a mean over examples, exact for any size of the last batch (Keras 3.15 takes a
      mean over batches);
    - under a strategy of several replicas a step is that of one device with the whole batch;
    - `architecture`, `class_names` and `preprocessing` travel in its `.keras` file and in the layers that `GoogLeNet`
      builds: `keras.models.clone_model` and `InceptionModel(model.input, ...)` keep them, and models that share layers
      share them.

    Attributes:
        architecture: The `Architecture`, or None.
        class_names: The names of the classes in the order of the outputs, or None.
        preprocessing: The mode of `preprocess_input` that the model's input must have gone through: `"pixels"` where
            the network does it itself. None where it is not known; then nothing is looked at, and what would have to
            preprocess images is refused.
        resize: How images of another aspect ratio became the model's input, and do where files are read: `"crop"`,
            `"pad"` or `"stretch"`, see `data.resize`.
        classes: The number of classes: the size of the last dimension of every output.
        class_labels: The names of the classes, or their numbers where the model has no names.
        head_losses: The losses of the heads and their weights; None until the model is compiled.
        default_loss_weights: What `compile` takes where it is given no `loss_weights`; None for 1 each, as in Keras.
    """

    head_losses: losses.HeadLosses | None = None
    _label_shapes: frozenset[tuple[int, ...] | None] = frozenset()
    default_loss_weights: Sequence[float] | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._looks_at_images, self._is_fitting, self._has_warned = True, False, False
        self._smaller: Callable[[], keras.Model] | None = None
        self._logged: tuple[str, ...] = ()

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configures the model for training; see `keras.Model.compile`.

        `loss`, `metrics` and `weighted_metrics` may be given once for all heads, as a list with one entry per head, or
        as a dict by output names; `loss_weights` as a list or a dict, of numbers or of schedules of Keras such as
        `CosineDecay(0.3, steps)`, by which weights fall while the model trains; an evaluation takes their first weight.
        A head whose loss is None does not learn; several in a list are added.
        `metrics` that are the model's own, as KerasTuner passes them, stand for those that it was compiled with.
        """
        names = self.output_names
        loss_weights = self.default_loss_weights if loss_weights is None else loss_weights
        own = {id(metric) for metric in self.metrics}
        if self.head_losses is not None and any(id(metric) in own for metric in keras.tree.flatten(metrics)):
            metrics = self.head_losses.compiled_metrics
        only = len(names) == 1 and isinstance(loss, (list, tuple))
        head_losses = losses.spread([loss] if only else loss, names, "loss")
        if loss_weights is not None:
            loss_weights = plain(loss_weights) if isinstance(loss_weights, np.ndarray) else loss_weights
            loss_weights = check_loss_weights(losses.spread(loss_weights, names, "loss_weights"))
        self._logged = ()
        directions = undocumented.directions(self, lambda: self._logged, partial(other_names, names=names))
        resolved = losses.HeadLosses(names, head_losses, loss_weights, metrics, directions)
        given = {"metrics": metrics, "weighted_metrics": weighted_metrics}
        given = {name: losses.metrics_per_head(resolved.fitting(value), names, name) for name, value in given.items()}
        super().compile(
            optimizer=scaling(optimizer, self) if kwargs.get("auto_scale_loss", True) else optimizer,
            loss=head_losses if len(names) > 1 else head_losses[0],
            loss_weights=loss_weights,
            **given,
            **kwargs,
        )
        self.head_losses, self._label_shapes = resolved, resolved.label_shapes(self.classes, list(given.values()))

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def also_train_at(self, image_size: int) -> None:
        """Lets `fit` take images of another size as well: the same layers compute the same heads of them.

        Validation, `evaluate` and `predict` take those of the network's own size. It is not written into a file of the
        model. A network that was built for any size takes this one anyway.

        Args:
            image_size: Their height and width in pixels.

        Raises:
            InputError: The layers do not fit such images, or a head, which flattens maps of the network's own size; or
                Keras runs on another backend.
        """
        image_size = argument("image_size", image_size, COUNT)
        if keras.backend.backend() != "tensorflow":
            raise InputError("Training images of two sizes need TensorFlow. Train with those of the network's size.")
        shape = self.input_shape[1:]
        if None in shape:
            return
        sides = image_size, image_size
        shape = (shape[0], *sides) if channels_come_first(self) else (*sides, shape[-1])
        if self.architecture is not None:
            heads = [head for head in self.architecture.auxiliary_heads if head.name in self.output_names]
            minimum = minimum_image_size(self.architecture, heads)
            if image_size < minimum:
                raise InputError(
                    f"Training images must be at least {minimum}x{minimum} for {described(self)} with its heads. "
                    f"Use larger ones. Received: image_size={image_size}"
                )
            check_memory(self.architecture, heads, shape, self.classes)
        outputs = self.outputs if len(self.outputs) > 1 else self.outputs[0]
        images = keras.Input(shape, dtype=self.input.dtype)
        try:
            smaller = keras.models.clone_model(keras.Model(self.input, outputs), images, lambda layer: layer)
        except ValueError as error:
            raise InputError(
                "A training image must be as large as the network's layers need, and give each auxiliary head, which "
                "flattens its map, one as large as images of the network's size do. Choose a size nearer to that, or "
                "leave out the auxiliary heads. "
                f"Received: images of {image_size}x{image_size} for {described(self)}"
            ) from error
        self._smaller = lambda: smaller  # in an attribute Keras would find each layer twice

    def of_size(self, images: Any) -> keras.Model:
        """Returns the model itself or, of images as large as `also_train_at` says, that of their size."""
        if self._smaller is None:
            return self
        smaller = self._smaller()
        shape = getattr(images, "shape", ())
        is_known = getattr(shape, "rank", 0) is not None
        return smaller if is_known and tuple(shape[1:]) == tuple(smaller.inputs[0].shape[1:]) else self

    def symbolic_batch(self) -> Any:
        """Returns symbolic images and labels, of which Keras builds metrics; None where any labels may be meant."""
        shape = next(iter(self._label_shapes), None)
        if shape is None or len(self._label_shapes) > 1:
            return None
        images = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype), self.input)
        return images, keras.KerasTensor((None, *shape), "float32" if shape else "int32")

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        if self.head_losses is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if y is None:
            raise InputError("A training or an evaluation needs labels: data of (images, labels). Received: y=None")
        step = self.steps_taken() if training and self.optimizer is not None else 0
        loss = self.head_losses.total(*self._spread(y, y_pred, sample_weight), step)
        return sum((keras.ops.sum(extra) / replica_count() for extra in self.losses), start=loss)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Tensor]:
        if y is None or self.head_losses is None:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        labels, predictions, weights = self._spread(y, y_pred, sample_weight)
        self.head_losses.update_metrics(labels, predictions, weights)
        if len(predictions) == 1:
            return super().compute_metrics(x, labels[0], predictions[0], weights[0])
        return super().compute_metrics(x, labels, predictions, None if sample_weight is None else weights)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        own = super().metrics
        if self.head_losses is None:
            return own
        return [*own[:1], *self.head_losses.metrics, *own[1:], self.head_losses.directions]

    @property
    def metrics_names(self) -> list[str]:
        """The names in the logs, in the order of what `evaluate` returns: losses, then metrics, the main head's first.

        Keras builds the metrics in the first step of a training or an evaluation; before it, their names are not known.
        """
        return list(self._logged) or super().metrics_names

    def get_metrics_result(self) -> dict[str, Tensor]:
        results: dict[str, Tensor] = super().get_metrics_result()
        self._logged = tuple(results)
        return results

    def save(self, filepath: PathLike, *args: Any, **kwargs: Any) -> None:
        """Writes a `.keras` file; see `keras.Model.save`.

        Raises:
            InputError: The name ends in `.h5` or `.hdf5`, a format from which Keras reads no classes of a package.
        """
        if str(filepath).lower().endswith((".h5", ".hdf5")):
            raise InputError(
                "Keras cannot load such a network from an HDF5 file. Save it as `.keras`, or its weights alone with "
                f"`save_weights` as `.weights.h5`. Received: filepath={str(filepath)!r}"
            )
        super().save(filepath, *args, **kwargs)

    def load_weights(self, filepath: PathLike, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Loads weights from a file, all of them or, on an error, none; see `keras.Model.load_weights`.

        The file's `preprocessing`, `resize` and, of as many classes, `class_names` become the model's.

        Raises:
            MissingFileError: There is no such file.
            InputError: The file is damaged, of another model, or holds values that are NaN or infinite.
        """
        path = os.path.expanduser(files.named(filepath, "filepath"))
        if not os.path.isfile(path):
            raise MissingFileError(f"There is no weights file of that name. Received: filepath={path!r}")
        variables = [*self.variables, *(self.optimizer.variables if self.compiled and self.optimizer else ())]
        before, known = [np.array(variable) for variable in variables], self.known()
        try:
            super().load_weights(path, skip_mismatch, **kwargs)
            check_finite(self)
        except Exception as error:  # Keras and HDF5 have no end of classes for what is wrong with a file
            for variable, value in zip(variables, before):
                variable.assign(value)
            self._take(**known)
            if isinstance(error, PermissionError):
                raise
            reason = shortened(" ".join(str(error).split()), 500)
            raise InputError(
                "A weights file must be what `save_weights` wrote of the same model, built with the same arguments, "
                f"and its weights must be finite. Nothing was loaded. Received: filepath={path!r}; {reason}"
            ) from error

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model; see `keras.Model.fit`.

        `class_weight` is a dict by class index or by class name, and serves all heads; a class that is left out weighs
        1. `sample_weight` may be given by head.

        Raises:
            InputError: A label names no class, a weight of an example is not a finite number of at least 0, or an image
                or a weight of the model is not finite. Of arrays all labels are looked at before the first step.
        """
        check_finite(self)
        check_some(x)
        arguments = _by_name(keras.Model.fit, self, x, y, *args, **kwargs)
        self._check_targets(y, arguments.get("sample_weight"))
        self._number_class_weight(y, arguments)
        validation_data = arguments.get("validation_data")
        if isinstance(validation_data, (list, tuple)) and len(validation_data) >= 2:
            images = keras.tree.flatten(validation_data[0])[0]
            if hasattr(images, "shape"):
                check_some(images)
                check_shape(self, images)
            self._check_targets(*validation_data[1:3])
        self._looks_at_images, self._is_fitting, self._has_warned = True, True, False
        callbacks = arguments.get("callbacks")
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            own = LogLossWeights(), OtherNames()
            arguments["callbacks"] = [*own, *keras.tree.flatten(callbacks or [])]
        try:
            history = super().fit(**arguments)
        finally:
            self._is_fitting = False
        try:
            check_finite(self)
        except InputError as error:
            warnings.warn(f"The training diverged, a lower learning rate may help. {error}", stacklevel=2)
        return history

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Returns the losses and metrics; see `keras.Model.evaluate`. What `fit` refuses is refused.

        Within a `fit` whose weights are not finite any more all of them are NaN.
        """
        check_some(x)
        arguments = _by_name(keras.Model.evaluate, self, x, y, *args, **kwargs)
        if not self._is_fitting:
            check_finite(self)
        elif any(count_not_finite(weight) for weight in self.weights):  # `fit` goes on to its end, and says so there
            return self._in_order(lambda **_: dict.fromkeys(self.metrics_names, math.nan), arguments)
        self._check_targets(y, arguments.get("sample_weight"))
        self._looks_at_images, self._has_warned = True, self._has_warned and self._is_fitting
        return self._in_order(super().evaluate, arguments)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the outputs; see `keras.Model.predict`. Images and weights that are not finite are refused."""
        check_finite(self)
        check_some(x)
        self._looks_at_images, self._has_warned = True, False
        return super().predict(x, *args, **kwargs)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Takes one step; see `keras.Model.train_on_batch`. What `fit` refuses is refused."""
        check_finite(self)
        self._check_targets(y)
        arguments = _by_name(keras.Model.train_on_batch, self, x, y, *args, **kwargs)
        self._number_class_weight(y, arguments)
        return self._in_order(super().train_on_batch, arguments)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Scores one batch; see `keras.Model.test_on_batch`. What `fit` refuses is refused."""
        check_finite(self)
        self._check_targets(y)
        arguments = _by_name(keras.Model.test_on_batch, self, x, y, *args, **kwargs)
        return self._in_order(super().test_on_batch, arguments)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the outputs for one batch; see `keras.Model.predict_on_batch`. What `predict` refuses is refused."""
        check_finite(self)
        return super().predict_on_batch(x)

    def _in_order(self, method: Callable[..., dict[str, float]], arguments: dict[str, Any]) -> Any:
        """Returns logs as Keras does, or as a list in the order of `metrics_names`; Keras sorts the heads by name."""
        return_dict = arguments.pop("return_dict", False)
        logs = method(**arguments, return_dict=True)
        names = [name for name in self.metrics_names if name in logs]
        logs = {name: logs[name] for name in dict.fromkeys([*names, *logs])}
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else next(iter(logs.values()))

    def check_batch(self, x: Any, y: Any = None, sample_weight: Any = None, *, training: bool = False) -> None:
        """Refuses a batch of other images than the network's, or of bad labels or weights, or of what is not finite.

        A label must name a class, and a weight be at least 0.

        Of the first batch of a call of `fit`, `evaluate` or `predict` images that contradict `preprocessing` are
        reported.

        Args:
            x: The images, `(batch, height, width, channels)`.
            y: Labels as `fit` takes them: once, as a list, or as a dict by output names.
            sample_weight: The weights of the examples, in the same forms.
            training: Whether the model learns from it, and so may take images as `also_train_at` says.

        Raises:
            InputError: See `check_labels`, `check_shape` and `check_images`.
        """
        images = keras.tree.flatten(x)[0]
        check_shape(self.of_size(images) if training else self, images)
        self._check_targets(y, sample_weight)
        check_images(x)
        if self._looks_at_images and not self._has_warned:
            self._has_warned = self.look_at(x)

    def look_at(self, images: Any) -> bool:
        """Warns of a batch of images, `(batch, height, width, channels)`, whose range contradicts `preprocessing`.

        Returns whether it did. No batch is looked at again before the next call of `fit`, `evaluate` or `predict`.
        """
        self._looks_at_images = False
        said = contradiction(as_numpy(keras.tree.flatten(images)[0]), self.preprocessing)
        if said:
            warnings.warn(said, stacklevel=2)
        return bool(said)

    def _check_targets(self, y: Any, sample_weight: Any = None) -> None:
        if y is None or self.head_losses is None:
            return
        for labels, loss in zip(losses.spread(y, self.output_names, "y"), self.head_losses.losses):
            if labels is not None:
                losses.check_labels_of(loss, as_numpy(labels), self.classes)
        for weights in losses.spread(sample_weight, self.output_names, "sample_weight"):
            if weights is not None:
                weights = as_numpy(weights)
                if weights.shape not in ((len(weights),), (len(weights), 1)):
                    raise InputError(f"`sample_weight` must be (batch,). Received: sample_weight.shape={weights.shape}")
                check_weights(weights, "sample_weight")

    def _number_class_weight(self, y: Any, arguments: dict[str, Any]) -> None:
        if arguments.get("class_weight") is not None:
            if isinstance(y, (list, tuple, dict)):
                raise InputError(
                    "`class_weight` goes with labels that are given once for all heads. Give those, or `sample_weight` "
                    f"by head. Received: y={type(y).__name__}, class_weight={arguments['class_weight']}"
                )
            arguments["class_weight"] = class_weight_by_index(arguments["class_weight"], self.classes, self.class_names)

    def _spread(self, y: Any, y_pred: Any, sample_weight: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """Returns labels, predictions and sample weights as lists with one entry per head."""
        names = self.output_names
        predictions = list(y_pred) if isinstance(y_pred, (list, tuple)) else [y_pred]
        return losses.spread(y, names, "y"), predictions, losses.spread(sample_weight, names, "sample_weight")


def check_model(model: Any, *, heads: bool = True) -> None:
    """Refuses what is no `InceptionModel` of one input or, unless `heads` is False, has no heads `(batch, classes)`.

    Raises:
        InputError: It is none.
    """
    built = "what `GoogLeNet` or `inference_model` returned, or what `keras.saving.load_model` read of its file"
    if not isinstance(model, InceptionModel):
        raise InputError(f"`model` must be a network of keras_inception: {built}. Received: {described(model)}")
    if len(model.inputs) != 1:
        raise InputError(f"`model` must have one input, as {built}. Received: {described(model)} with {model.inputs}")
    outputs = dict(zip(model.output_names, model.outputs))
    if heads and (isinstance(model.output_shape, dict) or any(len(x.shape) != 2 for x in model.outputs)):
        raise InputError(
            "`model` must have heads, whose outputs are (batch, classes). Build it with `include_top=True`. "
            f"Received: {described(model)} with outputs { ({name: x.shape for name, x in outputs.items()}) }"
        )


def _by_name(method: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Returns the arguments of a method of Keras by their names, those given by position too, without `self`."""
    bound = inspect.signature(method).bind(*args, **kwargs)
    named = {**bound.arguments, **bound.arguments.get("kwargs", {})}
    return {name: value for name, value in named.items() if name not in ("self", "kwargs")}
