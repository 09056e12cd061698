"""Times the export beside other engines, and what requests cost beside the network: decoding, resizing, `Classifier`.

The engines are those of `beside_peers.py`, as far as they are installed, each a process of its own. The second table is
one process, one thread, one image size (the architecture's). Every repeat runs what is compared one after the other, so
that a slow moment of the machine meets both, and ratios are taken within each repeat. The time is CPU time,
which on one thread is the wall-clock time of an idle machine.

    python benchmarks/serving.py
"""

import argparse
import io
import os
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import beside_peers
import numpy as np
import tensorflow as tf
from engines import tensorflow_engine, trained_looking
from machine import cell, machine, ratios, row, table, versions
from PIL import Image

import keras_inception as ki
from keras_inception.serving.classifier import Classifier

PHOTOGRAPH = (500, 375)  # the mean size of an ImageNet photograph is near it


def measure(calls, repeats):
    """Returns the CPU seconds of each call by name, one for each repeat."""
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return times


def photographs(count):
    """Returns JPEG files of smooth random colours with some noise."""
    files = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        small = Image.fromarray(random.integers(0, 256, (24, 32, 3)).astype("uint8"))
        pixels = np.asarray(small.resize(PHOTOGRAPH, Image.Resampling.BICUBIC)) + random.normal(
            0, 8, (*PHOTOGRAPH[::-1], 3)
        )
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype("uint8")).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def requests(version, model, arguments):
    """Prints what decoding and resizing of files cost beside the network alone."""
    network, whole = (tensorflow_engine(version, f"serving_{name}") for name in ("default", "bytes"))
    for batch in arguments.batch_sizes:
        images = np.zeros((batch, *model.input_shape[1:]), "float32")
        times = measure(
            {"network": partial(network, images), "files": partial(whole, photographs(batch))},
            max(arguments.images // batch, 8),
        )
        shares = [ratio - 1 for ratio in ratios(times["files"], times["network"])]
        milliseconds = cell([1e3 * value / batch for value in times["files"]], ".1f")
        size = "x".join(map(str, PHOTOGRAPH))
        row(f"serving_bytes, JPEG of {size}", batch, milliseconds, f"{cell(shares, '.1%')} of the forward pass")


def one_image(model, arguments, folder):
    """Prints what a `Classifier` costs for one file beside the bare network."""
    classifier, path = Classifier(model), Path(folder, "photograph.jpg")
    path.write_bytes(photographs(1)[0])
    image = tf.zeros((1, *model.input_shape[1:]))
    times = measure(
        {
            "bare": lambda: classifier.predict(image),
            "classifier": lambda: list(classifier.predict_files([path])),
        },
        max(arguments.images // 4, 8),
    )
    milliseconds = cell([1e3 * value for value in times["classifier"]], ".1f")
    row(
        "Classifier, one file",
        1,
        milliseconds,
        f"{cell(ratios(times['classifier'], times['bare']))} of its forward pass",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="googlenet", choices=list(ki.ARCHITECTURES))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--images", type=int, default=320, help="images that are computed at each batch size")
    parser.add_argument("--repeats", type=int, default=8, help="times that each engine is measured, at least 2")
    arguments = parser.parse_args()
    arguments.architectures = [arguments.architecture]
    beside_peers.find_peers(arguments, compiled=False)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")

    print(machine(1))
    print(versions(TensorFlow="tensorflow", Keras="keras", ONNX_Runtime="onnxruntime", OpenVINO="openvino"))
    beside_peers.begin_table(arguments.repeats)
    beside_peers.inference(arguments)
    table(
        f"{arguments.architecture}, float32, one thread; milliseconds of CPU time an image: median (quartiles)",
        "what", "batch", "milliseconds an image", "beside the network alone",
    )  # fmt: skip
    model = trained_looking(arguments.architecture)
    with tempfile.TemporaryDirectory() as folder:
        requests(ki.export_saved_model(model, Path(folder, "export")), model, arguments)
        one_image(model, arguments, folder)


if __name__ == "__main__":
    main()
