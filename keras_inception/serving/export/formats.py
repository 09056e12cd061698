"""The network for other engines: ONNX Runtime, LiteRT (TensorFlow Lite) and OpenVINO."""

import importlib.util
import itertools
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_inception import files
from keras_inception.errors import InputError, MissingPackageError, counted, shown
from keras_inception.evaluation import class_indices
from keras_inception.network.blocks import MAIN
from keras_inception.network.checks import check_input
from keras_inception.network.model import InceptionModel
from keras_inception.network.preprocess import preprocess_input, undo_preprocessing
from keras_inception.serving.export import versions
from keras_inception.serving.export.inference_graph import frozen, serving_network
from keras_inception.serving.export.int8 import quantize_onnx
from keras_inception.types import Array, PathLike, Tensor

Predict = Callable[[Array], Array]

# How far a probability may be from the SavedModel's: several engines' roundings in float32.
TOLERANCE: float = 1e-4
CALIBRATION_IMAGES: int = 200
FEW_CALIBRATION_IMAGES: int = 100


class Format(NamedTuple):
    """A format that Keras's own exporter writes: file in a version's folder, packages to write and check it with.

    `load` returns a file as a function from images, `(batch, height, width, channels)`, to probabilities,
    `(batch, classes)`.
    """

    file: str
    packages: tuple[str, ...]
    load: Callable[[Path], Predict]


def _load_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _load_litert(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(os.fspath(path))
    run = interpreter.get_signature_runner()
    return lambda images: run(images=images)["probabilities"].copy()


def _load_openvino(path: Path) -> Predict:
    import openvino

    # On processors with bfloat16 OpenVINO takes it unless told otherwise.
    compiled = openvino.compile_model(os.fspath(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled({"images": images})["probabilities"]


FORMATS: dict[str, Format] = {
    "onnx": Format("model.onnx", ("tf2onnx", "onnxruntime"), _load_onnx),
    "litert": Format("model.tflite", ("ai_edge_litert",), _load_litert),
    "openvino": Format("model.xml", ("openvino",), _load_openvino),
}


def export_format(
    model: InceptionModel,
    folder: PathLike,
    kind: str,
    version: int | None = None,
    *,
    calibration: Iterable[Any] | None = None,
) -> tuple[Path, float]:
    """Writes a trained model for another engine as the next version, `folder/1`, `folder/2`, and so on.

    The network takes `images`, `(batch, height, width, channels)` float32 of its own size, red, green, blue in
    [0, 255], preprocesses them, and gives `probabilities`, `(batch, classes)`. Decoding and resizing are the caller's.
    The file is run by its engine and compared with what a SavedModel computes before it becomes a version.

    Args:
        model: A trained model of channels-last images.
        folder: The folder of the versions.
        kind: `"onnx"`, `"litert"` or `"openvino"`.
        version: The number of the version; by default one more than the highest, or 1.
        calibration: Batches of preprocessed images, `(batch, height, width, channels)`, or of pairs of them and labels,
            of which 200 images, spread evenly over all, say how weights and maps are rounded to 8 bits (fewer than 100
            bring a warning); by default they stay float32. For `"openvino"` it needs the packages of `"onnx"` too, by
            which the rounding is found.

    Returns:
        The path of the version, and the largest difference of a probability from the SavedModel's.

    Raises:
        InputError: An argument is out of range, or the engine gives other probabilities.
        MissingPackageError: A package that the format needs is not installed.
    """
    if kind not in FORMATS:
        raise InputError(f"`kind` must be one of {list(FORMATS)}. Received: kind={kind!r}")
    folder, network = files.named(folder, "folder"), _with_preprocessing(model)
    # OpenVINO reads the 8 bits of ONNX.
    kinds = ("onnx", "openvino") if kind == "openvino" and calibration is not None else (kind,)
    needed = [package for each in kinds for package in FORMATS[each].packages]
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingPackageError(
            f"The format {kind} needs {' and '.join(needed)}, to write it and to compare it with the SavedModel. "
            f'Install them with: pip install "keras-inception[{",".join(kinds)}]". Missing: {", ".join(missing)}'
        )
    images, differences = None if calibration is None else _calibration_images(calibration, model), []
    if images is not None and len(images) < FEW_CALIBRATION_IMAGES:
        warnings.warn(
            f"the 8 bits are calibrated on {counted(len(images), 'image')} alone, and what exceeds their values is cut "
            f"off: give at least {FEW_CALIBRATION_IMAGES}, of which {CALIBRATION_IMAGES} are taken",
            stacklevel=2,
        )

    def write(aside: Path) -> None:
        path = aside / FORMATS[kind].file
        if images is None or kind == "litert":
            _convert(network, path, kind, images)
        else:
            _convert_in_int8(network, path, kind, images)
        names = "".join(f"{name}\n" for name in model.class_labels)
        (aside / "class_names.txt").write_text(names, encoding="utf-8")
        differences.append(_difference(network, FORMATS[kind].load(path)))
        if calibration is None and not differences[0] <= TOLERANCE:
            raise InputError(
                f"{kind} gives other probabilities than the SavedModel, so nothing was written. The largest difference "
                f"must be at most {TOLERANCE}. Received: {differences[0]:.2g}"
            )

    return versions.publish(write, folder, version), differences[0]


def export_accuracy(version: PathLike, kind: str, data: Iterable[Any], preprocessing: str | None) -> float:
    """Returns the share, in [0, 1], of labelled images that an exported network of a format classifies right.

    Args:
        version: The folder that `export_format` returned.
        kind: The format, a key of `FORMATS`.
        data: Batches of preprocessed images, `(batch, height, width, channels)`, and labels, integers or one-hot.
        preprocessing: The preprocessing that the images went through, as in `preprocess_input`.
    """
    return _accuracy(FORMATS[kind].load(Path(version) / FORMATS[kind].file), data, preprocessing)


def network_accuracy(model: InceptionModel, data: Iterable[Any], precision: str = "float32") -> float:
    """Returns the share, in [0, 1], of labelled images that the network of a SavedModel classifies right.

    Args:
        model: The model that was exported; what it was trained in does not matter.
        data: As `export_accuracy` takes it.
        precision: That of the SavedModel's network, `"float32"` or `"bfloat16"`.
    """
    return _accuracy(_network(model, precision), data, model.preprocessing)


def _accuracy(run: Predict, data: Iterable[Any], preprocessing: str | None) -> float:
    right = []
    for images, labels in data:
        probabilities = run(_pixels(images, preprocessing))
        right.append(probabilities.argmax(-1) == class_indices(np.asarray(labels), probabilities.shape[-1]))
    return float(np.concatenate(right).mean())


def _network(model: InceptionModel, precision: str) -> Predict:
    """Returns what a SavedModel of a precision computes, a function from pixels to probabilities."""
    network = frozen(serving_network(model, precision=precision))
    compiled = tf.function(
        lambda x: network(preprocess_input(x, preprocessing=model.preprocessing))[MAIN], reduce_retracing=True
    )
    return lambda images: compiled(tf.convert_to_tensor(images)).numpy()


def export_seconds(
    version: PathLike, kind: str, model: InceptionModel, batch_size: int, precision: str = "float32", repeats: int = 9
) -> tuple[float, float]:
    """Returns how long a batch takes an exported network of a format, and the network of a SavedModel.

    Both run on all cores of this machine, in turns.

    Args:
        version: The folder that `export_format` returned.
        kind: The format, a key of `FORMATS`.
        model: The model that was exported.
        batch_size: How many images a batch has.
        precision: That of the SavedModel's network, `"float32"` or `"bfloat16"`.
        repeats: How often each is measured, after a first time that does not count.

    Returns:
        Two medians, in seconds of wall-clock time: the format's, and the SavedModel's.
    """
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, *model.input_shape[1:])).astype("float32")
    engines = (FORMATS[kind].load(Path(version) / FORMATS[kind].file), _network(model, precision))
    seconds: tuple[list[float], ...] = ([], [])
    for _ in range(1 + repeats):
        for engine, measured in zip(engines, seconds):
            begin = time.perf_counter()
            engine(images)
            measured.append(time.perf_counter() - begin)
    return statistics.median(seconds[0][1:]), statistics.median(seconds[1][1:])


def _with_preprocessing(model: InceptionModel) -> keras.Model:
    network = serving_network(model, rearranged=False)
    images = keras.Input(network.input_shape[1:], name="images")
    inputs = preprocess_input(images, "channels_last", preprocessing=model.preprocessing)
    # A dict, because its keys become the names of the outputs in every format.
    return keras.Model(images, {"probabilities": network(inputs)[MAIN]}, name=model.name)


def _convert(network: keras.Model, path: Path, kind: str, images: Sequence[Array] | None) -> None:
    """Writes the file of a format; images are those that LiteRT's converter quantizes by."""
    options: dict[str, Any] = {}
    if images is not None:
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
        options["representative_dataset"] = lambda: ({"images": image} for image in images)
    signature = keras.InputSpec(shape=(None, *network.input_shape[1:]), dtype="float32", name="images")
    with warnings.catch_warnings():  # about NumPy's and TensorFlow's names, for whom writes the converters
        warnings.simplefilter("ignore")
        network.export(os.fspath(path), format=kind, verbose=False, input_signature=[signature], **options)


def _convert_in_int8(network: keras.Model, path: Path, kind: str, images: Sequence[Array]) -> None:
    """Writes the file of ONNX, or that of OpenVINO by way of it, in 8 bits."""
    onnx = path.with_suffix(".onnx")
    _convert(network, onnx, "onnx", None)
    quantize_onnx(onnx, "images", images)
    if kind == "openvino":
        import openvino

        openvino.save_model(openvino.convert_model(os.fspath(onnx)), os.fspath(path), compress_to_fp16=False)
        onnx.unlink()


def _calibration_images(calibration: Iterable[Any], model: InceptionModel) -> list[Array]:
    """Returns images that are spread evenly over all, as pixels, each `(1, height, width, channels)`.

    Validation images often come class by class. How many there are is known at the end alone, so that every second of
    those that were kept is dropped where they become too many.
    """

    def pixels(batch: Any, index: int) -> Array:
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        check_input(model, images)
        if index == 0:
            model.look_at(images)
        return _pixels(images, model.preprocessing)

    if isinstance(calibration, tf.data.Dataset) and int(calibration.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise InputError("`calibration` must end, and this repeats for ever. Received: an infinite tf.data.Dataset")
    if not isinstance(calibration, Iterable):
        raise InputError(f"`calibration` must be batches of images. Received: calibration={shown(calibration)}")
    images = itertools.chain.from_iterable(map(pixels, calibration, itertools.count()))
    kept: list[Array] = []
    every = 1
    for number, image in enumerate(images):
        if number % every == 0:
            kept.append(image[None])
        if len(kept) == 2 * CALIBRATION_IMAGES:
            kept, every = kept[::2], 2 * every
    if not kept:
        raise InputError("`calibration` must hold at least one image. Received: none")
    places = np.linspace(0, len(kept) - 1, min(len(kept), CALIBRATION_IMAGES)).round().astype(int)
    return [kept[place] for place in places]


def _pixels(images: Tensor, preprocessing: str | None) -> Array:
    return np.asarray(undo_preprocessing(np.asarray(images), preprocessing=preprocessing), "float32")


def _difference(network: keras.Model, run: Predict) -> float:
    """Returns the largest difference of a probability between Keras and another engine, over two images."""
    images = np.random.default_rng(0).uniform(0, 255, (2, *network.input_shape[1:])).astype("float32")
    images[0].sort(axis=0)  # one of smooth colours beside the noise
    expected = keras.ops.convert_to_numpy(network(images, training=False)["probabilities"])
    return float(np.abs(run(images) - expected).max())
