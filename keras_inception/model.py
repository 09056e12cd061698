"""GoogLeNet with three softmaxes: the builder, the model that ordinary data fits, and its compilation."""

import keras
from keras import layers, ops

from keras_inception import architectures, blocks, heads, losses, optimizers
from keras_inception.preprocess import check_mode
from keras_inception.weights import load_published_weights, source_of


@keras.saving.register_keras_serializable(package="keras_inception")
class InceptionModel(keras.Model):
    """A functional model whose heads all learn from the same label.

    It is a `keras.Model` with `output_names` such as `["main", "aux1", "aux2"]`, except that

    - labels and sample weights that come once, as in ordinary `(image, label)` data, serve every head; labels per head
      (a list in the order of the outputs, or a dict by their names) work too;
    - `compile` takes one loss and one list of metrics for all heads, or one per head;
    - the logged loss of each head is a mean over examples, exact for any size of the last batch (Keras 3.15 takes a
      mean over batches);
    - `architecture`, `class_names` and `preprocessing` travel in its `.keras` file.

    Attributes:
        architecture: The name of the architecture.
        class_names: The names of the classes in the order of the outputs, or None.
        preprocessing: The mode of `preprocess_input` that the model's input went through.
    """

    _head_losses = None  # until compiled

    def __init__(self, *args, architecture=None, class_names=None, preprocessing="inception", **kwargs):
        super().__init__(*args, **kwargs)
        check_mode(preprocessing)
        self.architecture = architecture
        self.class_names = class_names
        self.preprocessing = preprocessing

    @property
    def class_names(self):
        return None if self._class_names is None else list(self._class_names)

    @class_names.setter
    def class_names(self, class_names):
        if class_names is not None and len(class_names) != self.classes:
            raise ValueError(
                f"`class_names` must hold one name for each of the {self.classes} classes. "
                f"Received: {len(class_names)} names"
            )
        self._class_names = None if class_names is None else tuple(str(name) for name in class_names)

    @property
    def classes(self):
        """The number of classes: the size of the last dimension of every output."""
        return (self.output_shape[0] if isinstance(self.output_shape, list) else self.output_shape)[-1]

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **kwargs):
        """Configures the model for training; see `keras.Model.compile`.

        `loss`, `metrics` and `weighted_metrics` may be given once for all heads, as a list with one entry per head, or
        as a dict by output names; `loss_weights` as a list or a dict. A head whose loss is None does not learn.
        """
        names = self.output_names
        head_losses = losses.per_head(loss, names, "loss")
        loss_weights = None if loss_weights is None else losses.per_head(loss_weights, names, "loss_weights")
        super().compile(
            optimizer=optimizer,
            loss=head_losses if len(names) > 1 else head_losses[0],
            loss_weights=loss_weights,
            metrics=losses.metrics_per_head(metrics, names, "metrics"),
            weighted_metrics=losses.metrics_per_head(weighted_metrics, names, "weighted_metrics"),
            **kwargs,
        )
        self._head_losses = losses.HeadLosses(names, head_losses, loss_weights)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if y is None or self._head_losses is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = self._head_losses.total(*self._spread(y, y_pred, sample_weight))
        return sum((self._aggregate_additional_loss(extra) for extra in self.losses), start=loss)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if y is None or self._head_losses is None:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        labels, predictions, weights = self._spread(y, y_pred, sample_weight)
        self._head_losses.update_metrics(labels, predictions, weights)
        if len(predictions) == 1:
            return super().compute_metrics(x, labels[0], predictions[0], weights[0])
        return super().compute_metrics(x, labels, predictions, None if sample_weight is None else weights)

    @property
    def metrics(self):
        return super().metrics + ([] if self._head_losses is None else self._head_losses.metrics)

    def fit(self, x=None, y=None, *args, **kwargs):
        """Trains the model; see `keras.Model.fit`. Labels that name no class are refused before the first step.

        Raises:
            ValueError: An array of labels (or the first batch of a `tf.data.Dataset`) holds some outside
                `[0, classes)`.
        """
        self._check_labels(_first_labels(x) if y is None else y)
        validation_data = kwargs.get("validation_data")
        if isinstance(validation_data, (list, tuple)) and len(validation_data) >= 2:
            self._check_labels(validation_data[1])
        else:
            self._check_labels(_first_labels(validation_data))
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Returns the losses and metrics; see `keras.Model.evaluate`. Labels that name no class are refused."""
        if not kwargs.get("_use_cached_eval_dataset"):  # Called by `fit`, which has looked at them already.
            self._check_labels(_first_labels(x) if y is None else y)
        return super().evaluate(x, y, *args, **kwargs)

    def get_config(self):
        return {
            **super().get_config(),
            "architecture": self.architecture,
            "class_names": self.class_names,
            "preprocessing": self.preprocessing,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        own = ("architecture", "class_names", "preprocessing")
        model = super().from_config({k: v for k, v in config.items() if k not in own}, custom_objects)
        for key in own:
            setattr(model, key, config[key])
        return model

    def _spread(self, y, y_pred, sample_weight):
        """Returns labels, predictions and sample weights as lists with one entry per head."""
        names = self.output_names
        predictions = list(y_pred) if isinstance(y_pred, (list, tuple)) else [y_pred]
        return losses.per_head(y, names, "y"), predictions, losses.per_head(sample_weight, names, "sample_weight")

    def _check_labels(self, y):
        if y is None or self._head_losses is None or not self._head_losses.take_class_indices:
            return
        for labels in losses.per_head(y, self.output_names, "y"):
            labels, classes = ops.convert_to_numpy(labels), self.classes
            if labels.size == 0 or (labels.ndim > 1 and labels.shape[-1] == classes):
                continue
            if not (labels.min() >= 0 and labels.max() < classes):
                raise ValueError(
                    f"Labels must be integers from 0 to {classes - 1}, or one-hot, for a model of {classes} classes. "
                    "Renumber them, or build the model with as many classes as there are. "
                    f"Received: labels from {labels.min()} to {labels.max()}"
                )


def _first_labels(dataset):
    """Returns the labels in the first batch of a `tf.data.Dataset`; None for any other data."""
    if not (hasattr(dataset, "element_spec") and hasattr(dataset, "take")):
        return None
    batch = next(iter(dataset.take(1)), None)
    return batch[1] if isinstance(batch, tuple) and len(batch) > 1 else None


def GoogLeNet(  # noqa: N802, named as `keras.applications` names its builders
    include_top=True,
    weights=None,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name="googlenet",
    *,
    architecture="googlenet",
    aux_heads=True,
    dropout=None,
    aux_dropout=None,
    class_names=None,
):
    """Builds GoogLeNet with its auxiliary classifiers, compiled: outputs `main`, `aux1` (on 4a), `aux2` (on 4d).

    The model trains with `fit` on plain `(image, label)` data; `inference_model` then drops the auxiliary heads. Its
    input is the image after `preprocess_input(x, preprocessing=model.preprocessing)`.

    From the paper: the network, the heads and their places, dropout of 40% and 70%, loss weights 1, 0.3, 0.3. Not in
    the paper, and ours: He's normal initialisation (with Glorot's, or with a normal of 0.01, the deep heads are known
    to stay at a loss of ln(classes)), and the optimizer that `compile_model` states. BVLC's: the constants of LRN.

    Args:
        include_top: Whether to build the classifiers. Without them the model is the trunk alone, not compiled.
        weights: None for random initialisation; `"imagenet"` for the published weights of the architecture (BVLC's
            for `"googlenet"`, with trained auxiliary heads; TF-slim's; torchvision's), downloaded once, see
            `load_published_weights`; the path of such a publisher's file; or that of a Keras weights file
            (`.weights.h5`) of the same model. With published weights and other than 1000 classes the classifiers stay
            random; `freeze` is for what follows.
        input_tensor: A Keras tensor to use as the image input, of shape `(batch, height, width, channels)`.
        input_shape: Shape of one image, `(height, width, channels)` or, under `"channels_first"`, `(channels, height,
            width)`; by default the architecture's, 224x224x3 or 32x32x3. Any number of channels. Height and width may
            be None where no head flattens its map: with `aux_heads=False`, and in `"inception_v1_torchvision"`.
        pooling: For `include_top=False`: None for the map of 5b, `(batch, height, width, 1024)`, or `"avg"` or
            `"max"` for its global pooling, `(batch, 1024)`.
        classes: Number of classes, at least 2.
        classifier_activation: `"softmax"`, or None for logits (the loss is set to match). With any other activation the
            model is not compiled.
        name: Name of the model.
        architecture: `"googlenet"`, `"googlenet_bn"`, `"googlenet_small"`, `"inception_v1_slim"` or
            `"inception_v1_torchvision"`; see `architectures.py`. TF-slim's graph has no auxiliary heads.
        aux_heads: True for all auxiliary heads of the architecture, False for none, or the names of some, such as
            `["aux1"]`.
        dropout: Rate of the main head's dropout in [0, 1); by default the architecture's (paper: 0.4).
        aux_dropout: Rate of the auxiliary heads' dropout in [0, 1); by default 0.7 (the paper's).
        class_names: Names of the classes, kept in the `.keras` file.

    Returns:
        An `InceptionModel`. With heads, the outputs are a list of `(batch, classes)` in the order main, aux1, aux2;
        without auxiliary heads one tensor.

    Raises:
        ValueError: An argument is out of range, or the images are smaller than the network needs.

    Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, section 5 and Table 1.
    """
    architecture = architectures.get(architecture)
    auxiliary = _auxiliary_heads(architecture, aux_heads) if include_top else ()
    if include_top and (not isinstance(classes, int) or classes < 2):
        raise ValueError(f"`classes` must be an integer of at least 2. Received: classes={classes!r}")
    if pooling not in (None, "avg", "max"):
        raise ValueError(f'`pooling` must be None, "avg" or "max". Received: pooling={pooling!r}')
    image = _image_input(architecture, auxiliary, input_tensor, input_shape)

    conv = blocks.convolution_unit(architecture)
    x, taps = image, {}
    for row in architecture.rows:
        x = taps[row.name] = blocks.apply_row(row, x, architecture, conv)

    if include_top:
        rate = architecture.dropout if dropout is None else dropout
        outputs = [heads.apply_main_head(x, classes, classifier_activation, rate)]
        for head in auxiliary:
            rate = head.dropout if aux_dropout is None else aux_dropout
            outputs.append(heads.apply_auxiliary_head(taps[head.tap], head, conv, classes, classifier_activation, rate))
    elif pooling:
        pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
        outputs = [pool(name=f"{pooling}_pool")(x)]
    else:
        outputs = [x]

    sources = keras.utils.get_source_inputs(image)
    model = InceptionModel(
        sources[0] if len(sources) == 1 else sources,  # Keras warns when a list of one is called with an image.
        outputs if len(outputs) > 1 else outputs[0],
        name=name,
        architecture=architecture.name,
        class_names=class_names,
        preprocessing=architecture.preprocessing,
    )
    source = source_of(weights, architecture.name)
    if source is not None:
        load_published_weights(model, source.name, None if weights == "imagenet" else weights)
    elif weights is not None:
        model.load_weights(weights)
    if include_top and classifier_activation in ("softmax", "linear", None):
        compile_model(model)
    return model


def compile_model(
    model, optimizer=None, loss_weights=architectures.LOSS_WEIGHTS, *, label_smoothing=0.0, metrics=None, **kwargs
):
    """Compiles a GoogLeNet, or compiles it again with other choices.

    Args:
        model: What `GoogLeNet` or `inference_model` returned, with outputs of softmax or of logits.
        optimizer: A Keras optimizer or its name; by default Adam with a rate of 3e-4 (ours: the paper names SGD with
            momentum 0.9 but neither rate nor batch size).
        loss_weights: Weight of each head's loss, in the order of the outputs (the paper: 1, 0.3, 0.3), or a dict by
            output names. A model of one output takes the first, one without aux1 or aux2 leaves that head's out.
        label_smoothing: Share of each label, in [0, 1), that is spread evenly over all classes.
        metrics: Metrics for every head; by default accuracy, and top-5 accuracy from 6 classes up.
        **kwargs: Further arguments of `keras.Model.compile`.

    Returns:
        The model.

    Raises:
        ValueError: The weights do not fit the heads, or an output is neither softmax nor logits.
    """
    names = model.output_names
    if isinstance(loss_weights, (list, tuple)) and len(loss_weights) > len(names):
        loss_weights = _loss_weights_of(names, loss_weights)
    if metrics is None:
        metrics = [losses.SparseCategoricalAccuracy(name="accuracy")]
        if model.classes > 5:
            metrics.append(losses.SparseTopKCategoricalAccuracy(5, name="top_5_accuracy"))
    model.compile(
        optimizer=keras.optimizers.Adam(optimizers.CONSTANT_RATE) if optimizer is None else optimizer,
        loss=[losses.SparseCategoricalCrossentropy(gives_logits(model, name), label_smoothing) for name in names],
        loss_weights=loss_weights,
        metrics=metrics,
        **kwargs,
    )
    return model


def _loss_weights_of(names, loss_weights):
    """Returns the weights of some of the heads main, aux1, aux2 from those of all; of a single head, the first."""
    if len(names) == 1:
        return loss_weights[:1]
    by_name = dict(zip((heads.MAIN, *(head.name for head in architectures.AUXILIARY_HEADS)), loss_weights))
    return [by_name[name] for name in names] if set(names) <= set(by_name) else loss_weights


def gives_logits(model, name):
    """Returns whether the output `name` is logits rather than a softmax.

    Raises:
        ValueError: It is neither.
    """
    activation = getattr(model.get_layer(name), "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.linear):
        raise ValueError(
            "`compile_model` knows the loss for softmax outputs and for logits. Use `model.compile` with your own "
            f"loss. Received: output {name!r} with activation={getattr(activation, '__name__', activation)}"
        )
    return activation is keras.activations.linear


def _auxiliary_heads(architecture, aux_heads):
    if isinstance(aux_heads, bool):
        return architecture.auxiliary_heads if aux_heads else ()
    known = [head.name for head in architecture.auxiliary_heads]
    aux_heads = [aux_heads] if isinstance(aux_heads, str) else list(aux_heads)
    if not set(aux_heads) <= set(known):
        raise ValueError(
            f"`aux_heads` must be True, False, or names among {known} for architecture={architecture.name!r}. "
            f"Received: aux_heads={aux_heads}"
        )
    return tuple(head for head in architecture.auxiliary_heads if head.name in aux_heads)


def _image_input(architecture, auxiliary, input_tensor, input_shape):
    """Returns the image as a Keras tensor, of a shape that the network and its heads accept."""
    channels_first = keras.config.image_data_format() == "channels_first"
    if input_tensor is not None:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise ValueError(
                "`input_tensor` must be a Keras tensor, such as `keras.Input(...)` or what a layer returned. "
                f"Received: input_tensor={input_tensor!r}"
            )
        shape = tuple(input_tensor.shape[1:])
        if input_shape is not None and tuple(input_shape) != shape:
            raise ValueError(
                "`input_shape` must be that of `input_tensor` where both are given. "
                f"Received: input_shape={tuple(input_shape)}, input_tensor.shape={input_tensor.shape}"
            )
    elif input_shape is not None:
        shape = tuple(input_shape)
    else:
        size = architecture.image_size
        shape = (3, size, size) if channels_first else (size, size, 3)
    if len(shape) != 3 or shape[0 if channels_first else -1] is None:
        layout = "(channels, height, width)" if channels_first else "(height, width, channels)"
        raise ValueError(f"`input_shape` must be {layout}, with a number of channels. Received: input_shape={shape}")
    _check_image_size(architecture, auxiliary, shape, shape[1:] if channels_first else shape[:2])
    return keras.Input(shape, name="image") if input_tensor is None else input_tensor


def _check_image_size(architecture, auxiliary, shape, size):
    flattening = [head.name for head in auxiliary if head.pool != "adaptive_4x4"]
    if None in size:
        if flattening:
            raise ValueError(
                "`input_shape` must have a height and a width for the auxiliary heads, which flatten their map. "
                f"Use `aux_heads=False` or a fixed size. Received: input_shape={shape}"
            )
        return
    minimum = minimum_image_size(architecture, auxiliary)
    if min(size) >= minimum:
        return
    if flattening and min(size) >= (without := minimum_image_size(architecture, ())):
        raise ValueError(
            f"`input_shape` must be at least {minimum}x{minimum} for the auxiliary heads, whose 5x5 average pooling "
            f"would not fit into the map of {flattening[0]}. Use `aux_heads=False` (from {without}x{without} on), "
            f'larger images, or `architecture="googlenet_small"`. Received: input_shape={shape}'
        )
    raise ValueError(
        f"`input_shape` must be at least {minimum}x{minimum} for architecture={architecture.name!r}. "
        f'Use larger images, or `architecture="googlenet_small"`. Received: input_shape={shape}'
    )


def minimum_image_size(architecture, auxiliary_heads):
    """Returns the smallest height and width, in pixels, of images for a network with these auxiliary heads."""
    taps = {head.tap for head in auxiliary_heads if head.pool != "adaptive_4x4"}

    def fits(size):
        for row in architecture.rows:
            size = blocks.output_size(row, size, architecture)
            if size < (5 if row.name in taps else 1):
                return False
        return True

    return next(size for size in range(1, 1000) if fits(size))
