"""GoogLeNet with three softmaxes: the builder, and its compilation."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import keras
from keras import layers

from keras_inception import architectures
from keras_inception.architectures import Architecture, AuxiliaryHead
from keras_inception.errors import InputError, shown
from keras_inception.network import blocks, losses
from keras_inception.network.checks import gives_logits
from keras_inception.network.dtypes import output_dtype, policy
from keras_inception.network.initializers import InitialWeights, initializer
from keras_inception.network.logs import name_logs
from keras_inception.network.model import InceptionModel, check_model
from keras_inception.network.record import Preprocessing
from keras_inception.network.saved import known
from keras_inception.network.sizes import check_memory, minimum_image_size
from keras_inception.network.trained import load_trained_weights
from keras_inception.rules import MAYBE_SHARE, SWITCH, Rule, argument, between, is_whole, maybe, one_of, plain, rule
from keras_inception.types import PathLike, Shape, Tensor
from keras_inception.weights import load_published_weights, source_of

# Ours: for `fit` without a schedule, low enough to need no warm-up.
LEARNING_RATE = 3e-4
# The paper's, for the auxiliary heads of a model that does not know its architecture.
LOSS_WEIGHT = 0.3

name_logs(head for each in architectures.ARCHITECTURES.values() for head in each.heads)

CLASSES: Rule = rule("an integer of at least 2", lambda value: is_whole(value, 2))
MAYBE_NAME: Rule = maybe(
    "a text, not empty, without slashes", lambda value: isinstance(value, str) and "/" not in value and value != ""
)


def GoogLeNet(  # noqa: N802, named as `keras.applications` names its builders
    include_top: bool = True,
    weights: PathLike | None = None,
    input_tensor: Tensor | None = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    *,
    architecture: str | Architecture | None = None,
    width: float | None = None,
    aux_heads: bool | str | Sequence[str] = True,
    dropout: float | None = None,
    aux_dropout: float | None = None,
    kernel_initializer: Any = None,
    bias_initializer: Any = None,
    class_names: Sequence[str] | None = None,
    include_preprocessing: bool = False,
    dtype: Any = None,
) -> InceptionModel:
    """Builds GoogLeNet with its auxiliary classifiers, compiled: outputs `main`, `aux1` (on 4a), `aux2` (on 4d).

    The model trains with `fit` on plain `(image, label)` data; `inference_model` then drops the auxiliary heads. Its
    input is the image after `preprocess_input(x, preprocessing=model.preprocessing)`, or pixels from 0 to 255 with
    `include_preprocessing=True`. `fit`, `evaluate` and `predict` warn of images whose range contradicts that.

    From the paper: the network, the heads and their places, dropout of 40% and 70%, loss weights 1, 0.3, 0.3. Not in
    the paper, and ours: He's normal initialisation (with Glorot's, or with a normal of 0.01, the deep heads are known
    to stay at a loss of ln(classes)), and the optimizer that `compile_model` states. BVLC's: the constants of LRN. Its
    initialisation is `kernel_initializer="lecun_uniform", bias_initializer="constant(value=0.2)"`.

    Args:
        include_top: Whether to build the classifiers. Without them the model is the trunk alone, not compiled.
        weights: None for random initialisation; `"imagenet"` for the published weights of the architecture (BVLC's
            for `"googlenet"`, with trained auxiliary heads; TF-slim's; torchvision's), downloaded once, see
            `load_published_weights`; the path of such a publisher's file; or what you trained yourself: the folder
            of a run, a `.keras` file or a `.weights.h5` file, see `load_trained_weights`. Classifiers of another number
            of classes stay random; `freeze` is for what follows.
        input_tensor: A Keras tensor to use as the image input, of shape `(batch, height, width, channels)`. Where
            layers come before it, what the images themselves must be is not known: `model.preprocessing` is None until
            you set it, such as to `"pixels"` after a `Rescaling`.
        input_shape: Shape of one image, `(height, width, channels)` or, under `"channels_first"`, `(channels, height,
            width)`; by default that of the training that `weights` names, or the architecture's, 224x224x3 or 32x32x3,
            and 3 channels of any height and width with `include_top=False`. Any number of channels. Height and width
            may be None where no head flattens its map: with `aux_heads=False`, and in `"inception_v1_torchvision"`.
        pooling: For `include_top=False`: None for the map of 5b, `(batch, height, width, 1024)`, or `"avg"` or
            `"max"` for its global pooling, `(batch, 1024)`.
        classes: Number of classes, at least 2.
        classifier_activation: `"softmax"`, or None for logits (the loss is set to match). With any other activation the
            model is not compiled.
        name: Name of the model; by default that of the architecture.
        architecture: `"googlenet"`, `"googlenet_bn"`, `"googlenet_small"`, `"inception_v1_slim"` or
            `"inception_v1_torchvision"`, or an `Architecture` of your own; see `architectures.py`. TF-slim's graph has
            no auxiliary heads. By default that of the training that `weights` names, or `"googlenet"`.
        width: How many times as wide the trunk is, from 0.05 to 10 (ours). By default as wide as that of the training
            that `weights` names, if it has this architecture, or the paper's, 1.
        aux_heads: True for all auxiliary heads of the architecture, False for none, or the names of some, such as
            `["aux1"]`.
        dropout: Rate of the main head's dropout in [0, 1); by default the architecture's (paper: 0.4).
        aux_dropout: Rate of the auxiliary heads' dropout in [0, 1); by default each head's own (paper: 0.7).
        kernel_initializer: What all kernels begin with: a name of Keras's, such as `"lecun_uniform"` (what Caffe calls
            xavier), with arguments such as `"random_normal(stddev=0.01)"`, an initializer without a seed of its own, or
            its config; by default He's normal, and Glorot's uniform in the classifiers.
        bias_initializer: The same for the biases of convolutions and of the auxiliary heads' hidden layers, such as
            `"constant(value=0.2)"`; by default zeros, which the biases of the classifiers are always.
        class_names: Names of the classes, texts of one line, each its own; kept in the `.keras` file.
        include_preprocessing: Whether the network preprocesses in its graph and takes pixels from 0 to 255 as they are,
            as some of `keras.applications` do; `model.preprocessing` is then `"pixels"`.
        dtype: What the network computes in, a dtype policy or its name, such as `"mixed_bfloat16"` or `"float64"`; by
            default `keras.config.dtype_policy()`. The outputs are float32, under `"float64"` float64.

    Returns:
        An `InceptionModel`. With heads, the outputs are a list of `(batch, classes)` in the order of
        `architecture.heads` (main, aux1, aux2); without auxiliary heads one tensor.

    Raises:
        InputError: An argument is of another type or out of range, the images are smaller than the network needs, or
            they or the weights for them are larger than the machine's memory.

    Reference: Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842, section 5 and Table 1.
    """
    include_top = argument("include_top", include_top, SWITCH)
    is_sized = input_shape is not None or input_tensor is not None or not include_top
    if (not is_sized or architecture is None or width is None) and (own := known(weights)):
        architecture, width = own.taken_over(architecture, width)
        input_shape = input_shape if is_sized else own.image_shape
    architecture = architectures.get(architecture, width)
    include_preprocessing = argument("include_preprocessing", include_preprocessing, SWITCH)
    dropout = argument("dropout", dropout, MAYBE_SHARE)
    aux_dropout = argument("aux_dropout", aux_dropout, MAYBE_SHARE)
    pooling = argument("pooling", pooling, one_of((None, "avg", "max")))
    name = argument("name", name, MAYBE_NAME)
    initial = InitialWeights(
        initializer("kernel_initializer", kernel_initializer), initializer("bias_initializer", bias_initializer)
    )
    auxiliary = _auxiliary_heads(architecture, aux_heads) if include_top else ()
    classes = argument("classes", classes, CLASSES) if include_top else 0
    try:
        keras.activations.get(classifier_activation)
    except (ValueError, TypeError) as error:
        raise InputError(
            '`classifier_activation` must be "softmax", None for logits, or another activation of Keras. '
            f"Received: classifier_activation={shown(classifier_activation)}"
        ) from error
    with policy(dtype):
        image = _image_input(architecture, auxiliary, input_tensor, input_shape, include_top=include_top)
        check_memory(architecture, auxiliary, image.shape[1:], classes)

        conv = blocks.convolution_unit(architecture, initial)
        first = Preprocessing(
            architecture, None, architecture.preprocessing, include_preprocessing, name="preprocessing"
        )
        x, taps = first(image), {}
        for row in architecture.rows:
            x = taps[row.name] = blocks.apply_row(row, x, architecture, conv)

        if include_top:
            rate = architecture.dropout if dropout is None else dropout
            outputs = [blocks.apply_main_head(x, classes, classifier_activation, rate, initial)]
            for head in auxiliary:
                rate = head.dropout if aux_dropout is None else aux_dropout
                x = taps[head.tap]
                outputs.append(
                    blocks.apply_auxiliary_head(x, head, conv, classes, classifier_activation, rate, initial)
                )
        elif pooling:
            pool = layers.GlobalAveragePooling2D if pooling == "avg" else layers.GlobalMaxPooling2D
            outputs = [pool(name=f"{pooling}_pool")(x)]
        else:
            outputs = [x]

        sources = keras.utils.get_source_inputs(image)
        model = InceptionModel(
            sources[0] if len(sources) == 1 else sources,  # Keras warns when a list of one is called with an image.
            outputs if len(outputs) > 1 else outputs[0],
            name=architecture.name if name is None else name,
            class_names=class_names,
        )
    source = source_of(weights, architecture)
    if source is not None:
        load_published_weights(model, source.name, None if weights == "imagenet" else weights)
    elif weights is not None:
        load_trained_weights(model, weights, class_names=class_names)
    if sources[0] is not image and not include_preprocessing:
        model.preprocessing = None
    if include_top and classifier_activation in ("softmax", "linear", None):
        compile_model(model)
    return model


def compile_model(
    model: InceptionModel,
    optimizer: keras.optimizers.Optimizer | str | None = None,
    loss_weights: Sequence[float] | Mapping[str, float] | None = None,
    *,
    label_smoothing: float = 0.0,
    distillation: float = 0.0,
    distillation_temperature: float = 3.0,
    metrics: Any = None,
    **kwargs: Any,
) -> InceptionModel:
    """Compiles a GoogLeNet, or compiles it again with other choices.

    Args:
        model: What `GoogLeNet` or `inference_model` returned, with outputs of softmax or of logits.
        optimizer: A Keras optimizer or its name; by default Adam with a rate of 3e-4 (ours: the paper names SGD with
            momentum 0.9 but neither rate nor batch size).
        loss_weights: Weight of each head's loss: one for each output, in their order, or a dict by output names. By
            default the main head's is 1 and every other's is the architecture's (the paper: 0.3).
        label_smoothing: Share of each label, in [0, 1), that is spread evenly over all classes.
        distillation: Share, from 0 to 1, of the main head's softmax in what the auxiliary heads learn, beside the
            labels: self-distillation, which makes better exits of them, see `losses.DistilledCrossentropy`.
        distillation_temperature: What the logits of both heads are divided by for it, above 0.
        metrics: Metrics for every head; by default accuracy, and top-5 accuracy from 6 classes up.
        **kwargs: Further arguments of `keras.Model.compile`.

    Returns:
        The model.

    Raises:
        InputError: The weights do not fit the heads, an argument is out of range, or an output is neither softmax nor
            logits.
    """
    check_model(model)
    distillation = argument("distillation", distillation, between(0, 1))
    names = model.output_names
    if loss_weights is None:
        record = getattr(model, "architecture", None)
        own = dict(zip(record.heads, record.loss_weights)) if record else {}
        loss_weights = [1.0, *(own.get(name, LOSS_WEIGHT) for name in names[1:])]
    of_labels = losses.SparseCategoricalCrossentropy
    of_both = partial(losses.DistilledCrossentropy, distillation=distillation, temperature=distillation_temperature)
    kinds = [of_both if distillation and name != blocks.MAIN else of_labels for name in names]
    if metrics is None:
        metrics = [losses.SparseCategoricalAccuracy(name="accuracy")]
        if model.classes > 5:
            metrics.append(losses.SparseTopKCategoricalAccuracy(5, name="top_5_accuracy"))
    model.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE) if optimizer is None else optimizer,
        loss=[kind(gives_logits(model, name), label_smoothing) for kind, name in zip(kinds, names)],
        loss_weights=loss_weights,
        metrics=metrics,
        **kwargs,
    )
    return model


def _auxiliary_heads(architecture: Architecture, aux_heads: bool | str | Sequence[str]) -> tuple[AuxiliaryHead, ...]:
    given = plain(aux_heads)
    if isinstance(given, bool):
        return architecture.auxiliary_heads if given else ()
    known = [head.name for head in architecture.auxiliary_heads]
    names = list(given) if isinstance(given, Collection) and not isinstance(given, str) else [given]
    if not all(name in known for name in names):
        raise InputError(
            f"`aux_heads` must be True, False, or names among {known} for architecture={architecture.name!r}. "
            f"Received: aux_heads={shown(names)}"
        )
    return tuple(head for head in architecture.auxiliary_heads if head.name in names)


def _image_input(
    architecture: Architecture,
    auxiliary: Sequence[AuxiliaryHead],
    input_tensor: Tensor | None,
    input_shape: Sequence[int | None] | None,
    *,
    include_top: bool,
) -> keras.KerasTensor:
    """Returns the image as a Keras tensor, of a shape that the network and its heads accept."""
    channels_first = keras.config.image_data_format() == "channels_first"
    if input_tensor is not None:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise InputError(
                "`input_tensor` must be a Keras tensor, such as `keras.Input(...)` or what a layer returned. "
                f"Received: input_tensor={input_tensor!r}"
            )
        shape = tuple(input_tensor.shape[1:])
        if input_shape is not None and plain(input_shape) != shape:
            raise InputError(
                "`input_shape` must be that of `input_tensor` where both are given. "
                f"Received: input_shape={shown(input_shape)}, input_tensor.shape={input_tensor.shape}"
            )
    elif input_shape is not None:
        shape = plain(input_shape)
    else:
        size = architecture.image_size if include_top else None
        shape = (3, size, size) if channels_first else (size, size, 3)
    is_shape = isinstance(shape, tuple) and all(length is None or is_whole(length, 0) for length in shape)
    if not is_shape or len(shape) != 3 or not shape[0 if channels_first else -1]:
        layout = "(channels, height, width)" if channels_first else "(height, width, channels)"
        raise InputError(
            f"`input_shape` must be {layout}, with a number of channels. Received: input_shape={shown(shape)}"
        )
    _check_image_size(architecture, auxiliary, shape, shape[1:] if channels_first else shape[:2])
    return keras.Input(shape, dtype=output_dtype(), name="image") if input_tensor is None else input_tensor


def _check_image_size(
    architecture: Architecture, auxiliary: Sequence[AuxiliaryHead], shape: Shape, size: Shape
) -> None:
    flattening = [head.name for head in auxiliary if head.pool != "adaptive_4x4"]
    if None in size and flattening:
        raise InputError(
            "`input_shape` must have a height and a width for the auxiliary heads, which flatten their map. "
            f"Use `aux_heads=False` or a fixed size. Received: input_shape={shape}"
        )
    minimum = minimum_image_size(architecture, auxiliary)
    smallest = min((length for length in size if length is not None), default=minimum)
    if smallest >= minimum:
        return
    if flattening and smallest >= (without := minimum_image_size(architecture, ())):
        raise InputError(
            f"`input_shape` must be at least {minimum}x{minimum} for the auxiliary heads, whose 5x5 average pooling "
            f"would not fit into the map of {flattening[0]}. Use `aux_heads=False` (from {without}x{without} on), "
            f'larger images, or `architecture="googlenet_small"`. Received: input_shape={shape}'
        )
    raise InputError(
        f"`input_shape` must be at least {minimum}x{minimum} for architecture={architecture.name!r}. "
        f'Use larger images, or `architecture="googlenet_small"`. Received: input_shape={shape}'
    )
