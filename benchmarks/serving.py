"""Times the export beside ONNX Runtime and OpenVINO on the same network, and what decoding and resizing cost.

One process, one thread an engine, one image size (the architecture's). Every repeat runs all engines one after the
other, so that a slow moment of the machine meets all of them, and ratios are taken within each repeat. The time is the
processor's, which on one thread is what the wall's clock shows on an idle machine.

    pip install -e ".[onnx,openvino]"
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

import machine
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_inception as ki
from keras_inception.classifier import Classifier
from keras_inception.export import FORMATS, PRECISIONS, export_format

PHOTOGRAPH = (500, 375)  # the mean size of an ImageNet photograph is near it


def tensorflow_engine(version):
    """Returns a function of a signature and its input: the session that TensorFlow Serving makes of a version."""
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=config)
    with graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
    calls = {}
    for name, definition in loaded.signature_def.items():
        if "probabilities" in definition.outputs:
            feeds = [tensor.name for tensor in definition.inputs.values()]
            calls[name] = session.make_callable(definition.outputs["probabilities"].name, feeds)
    return lambda name, value: calls[name](value)


def onnxruntime_engine(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def openvino_engine(path, shape, precision):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(shape)  # it may plan for this very batch
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda images: request.infer({"images": images})["probabilities"]


def trained_looking(architecture):
    """Returns a network with biases and statistics as after a training: TensorFlow removes additions of zeros."""
    model, random = ki.GoogLeNet(architecture=architecture), np.random.default_rng(0)
    for layer in model.layers:
        for variable in layer.weights:
            name = variable.path.rsplit("/", 1)[-1]
            if name in ("bias", "beta", "moving_mean"):
                variable.assign(random.normal(0, 0.1, variable.shape))
            elif name in ("gamma", "moving_variance"):
                variable.assign(random.uniform(0.8, 1.2, variable.shape))
    return model


def measure(calls, repeats):
    """Returns the processor's seconds of each call by name, one for each repeat."""
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


def spread(values, form):
    return f"{{0:{form}}} ({{1:{form}}} to {{2:{form}}})".format(*machine.quartiles(values))


def ratios(times, name, others):
    """Returns the time of an engine over that of the fastest other one, within each repeat."""
    best = min(others, key=lambda other: np.median(times[other]))
    return [ours / theirs for ours, theirs in zip(times[name], times[best])], best


def print_row(*cells):
    print(f"| {cells[0]:<34} | {cells[1]:>5} | {cells[2]:<24} | {cells[3]:<50} |", flush=True)


def engines(folder, versions, batch):
    shape = (batch, *versions["shape"])
    images = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    onnx, openvino = (versions[kind] / FORMATS[kind].file for kind in ("onnx", "openvino"))
    calls = {
        f"export, {precision}": partial(versions[precision], "serving_default", images) for precision in PRECISIONS
    }
    calls["ONNX Runtime, float32"] = partial(onnxruntime_engine(onnx), images)
    calls["OpenVINO, float32"] = partial(openvino_engine(openvino, shape, "f32"), images)
    calls["OpenVINO, bfloat16"] = partial(openvino_engine(openvino, shape, "bf16"), images)
    return calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", default="googlenet", choices=list(ki.ARCHITECTURES))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--images", type=int, default=320, help="images that each engine computes at each batch size")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")

    print(machine.machine(1))
    print(machine.versions(TensorFlow="tensorflow", Keras="keras", ONNX_Runtime="onnxruntime", OpenVINO="openvino"))
    print(f"{arguments.architecture}, one thread; the processor's milliseconds an image: median (quartiles)")
    print("ratio: to the fastest of the others in the same precision, within each repeat; below 1 is faster\n")

    model = trained_looking(arguments.architecture)
    with tempfile.TemporaryDirectory() as folder:
        versions = {"shape": model.input_shape[1:]}
        for precision in PRECISIONS:
            version = ki.export_saved_model(model, Path(folder, precision), precision=precision)
            versions[precision] = tensorflow_engine(version)
        for kind in ("onnx", "openvino"):
            versions[kind], _ = export_format(model, Path(folder, kind), kind)

        print_row("engine", "batch", "milliseconds an image", "ratio")
        print(f"|{'-' * 36}|{'-' * 7}|{'-' * 26}|{'-' * 52}|")
        for batch in arguments.batch_sizes:
            times = measure(engines(folder, versions, batch), max(arguments.images // batch, 8))
            for name in times:
                ours, precision = name.split(", ")
                ratio = ""
                if ours == "export":
                    peers = [peer for peer in times if peer != name and peer.endswith(precision)]
                    values, best = ratios(times, name, peers)
                    ratio = f"{spread(values, '.2f')} of {best.split(',')[0]}"
                print_row(name, batch, spread([1e3 * value / batch for value in times[name]], ".1f"), ratio)
        requests(versions["float32"], model, arguments)
        one_image(model, arguments, folder)


def requests(engine, model, arguments):
    """Prints what decoding and resizing of files cost beside the network alone."""
    for batch in arguments.batch_sizes:
        files = photographs(batch)
        images = np.zeros((batch, *model.input_shape[1:]), "float32")
        times = measure(
            {"network": partial(engine, "serving_default", images), "files": partial(engine, "serving_bytes", files)},
            max(arguments.images // batch, 8),
        )
        shares = [files / network - 1 for files, network in zip(times["files"], times["network"])]
        size = "x".join(map(str, PHOTOGRAPH))
        milliseconds = spread([1e3 * value / batch for value in times["files"]], ".1f")
        print_row(f"serving_bytes, JPEG of {size}", batch, milliseconds, f"{spread(shares, '.1%')} of the forward pass")


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
    values = [ours / bare for ours, bare in zip(times["classifier"], times["bare"])]
    milliseconds = spread([1e3 * value for value in times["classifier"]], ".1f")
    print_row("Classifier, one file", 1, milliseconds, f"{spread(values, '.2f')} of its forward pass")


if __name__ == "__main__":
    main()
