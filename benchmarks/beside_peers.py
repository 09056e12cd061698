"""Measures training step and inference beside their peers, on one core, in one run and one table.

Each engine is a process of its own with one thread, which does nothing while another one is measured. Within each
repeat all of them take their turns, so that a slow moment of the machine meets all, and the ratio is taken there. The
time is CPU time, which other programs do not lengthen by waiting.

    pip install -e ".[benchmarks]"
    python benchmarks/beside_peers.py

Where only a build of PyTorch without CUDA is wanted, install that one first, and torchvision by
`pip install --no-deps torchvision`.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from machine import cell, machine, ratios, row, table, version, versions
from processes import Measured, in_turns, last_core

ROWS = ("training", "inference")
TORCHVISION = {
    "torchvision": {},
    "torchvision, channels last": {"channels_last": True},
    "torchvision, channels last, torch.compile": {"channels_last": True, "compiled": True},
}
SAME_GRAPH = "inception_v1_torchvision"


def compare(what, precision, batch, ours, theirs, *, command, images, repeats):
    """Prints a row for each pair of ours and theirs.

    Args:
        what: The row's first cell.
        precision: Its second cell.
        batch: Its third cell.
        ours: Dict of `Measured` by name.
        theirs: The same.
        command: What each of them is asked.
        images: How many images one such answer computes.
        repeats: How often.
    """
    processes = {**ours, **theirs}
    with ExitStack() as stack:
        for process in processes.values():
            stack.enter_context(process)
        for process in processes.values():
            process.ready()
        seconds = in_turns({name: (process, command) for name, process in processes.items()}, repeats)
    rates = {name: f"{images / statistics.median(values):.1f}" for name, values in seconds.items()}
    for name, peer in itertools.product(ours, theirs):
        ratio = cell(ratios(seconds[name], seconds[peer]))
        row(f"{what}, {name}", precision, batch, rates[name], peer, rates[peer], ratio)


def training(arguments):
    for dtype in ("float32", "mixed_bfloat16"):
        options = {"dtype": dtype, "batch_size": arguments.training_batch, "size": 224, "threads": 1}
        options |= {"warm": ["step"], "cores": last_core()}
        compare(
            "training step", dtype.removeprefix("mixed_"), arguments.training_batch,
            {name: Measured("ours", architecture=name, optimizer="sgd", **options) for name in arguments.architectures},
            {name: Measured("torchvision", **form, **options) for name, form in arguments.torchvision.items()},
            command="step", images=arguments.training_batch, repeats=arguments.repeats,
        )  # fmt: skip


def inference(arguments):
    from engines import trained_looking

    import keras_inception as ki
    from keras_inception.serving.export import EXPORT_PRECISIONS, FORMATS, export_format

    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.architectures:
            model, files = trained_looking(name), {}
            for precision in EXPORT_PRECISIONS:
                files[precision] = str(ki.export_saved_model(model, Path(folder, name, precision), precision=precision))
            for kind in arguments.formats:
                written, _ = export_format(model, Path(folder, name, kind), kind)
                files[kind] = str(written / FORMATS[kind].file)
            for precision, batch in itertools.product(EXPORT_PRECISIONS, arguments.batch_sizes):
                compare_engines(name, model.input_shape[1:], files, precision, batch, arguments)


def compare_engines(architecture, image_shape, files, precision, batch, arguments):
    shape = (batch, *image_shape)
    options = {"shape": shape, "warm": ["forward", "forward"], "cores": last_core()}
    theirs = {}
    if "onnx" in files and precision == "float32":  # it has no bfloat16 on processors
        theirs["ONNX Runtime"] = Measured("inference", engine="onnxruntime", path=files["onnx"], **options)
    if "openvino" in files:
        theirs["OpenVINO"] = Measured(
            "inference", engine="openvino", path=files["openvino"], precision=precision, **options
        )
    if architecture == SAME_GRAPH:
        for name, form in arguments.torchvision.items():
            theirs[name] = Measured("inference", engine="torchvision", precision=precision, **form, **options)
    ours = {architecture: Measured("inference", engine="tensorflow", version=files[precision], **options)}
    repeats = max(arguments.repeats, arguments.images // batch)
    compare("inference", precision, batch, ours, theirs, command="forward", images=batch, repeats=repeats)


def find_peers(arguments, *, compiled):
    """Adds to the arguments which of the peers are installed."""
    has = {name for name in ("torchvision", "onnxruntime", "openvino") if version(name) != "not installed"}
    arguments.torchvision = {
        name: form for name, form in TORCHVISION.items() if compiled or not form.get("compiled")
    } if "torchvision" in has else {}  # fmt: skip
    arguments.formats = [
        kind for kind, package in (("onnx", "onnxruntime"), ("openvino", "openvino")) if package in has
    ]


def begin_table(repeats):
    table(
        f"One core, one thread, images of 224x224, 1000 classes. Training: SGD with momentum, three heads, ours counts "
        f"its metrics too, bfloat16 is mixed. Inference: pixels in [0, 255] to softmax. Ratio: our time to the peer's, "
        f"median (quartiles) of at least {repeats} repeats in turns; below 1 is faster.",
        "what", "type", "batch", "our images a second", "peer", "its images a second", "ratio",
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--architectures", nargs="+", default=["googlenet", "googlenet_bn", SAME_GRAPH])
    parser.add_argument("--training-batch", type=int, default=16, help="images of 224x224 in a training step")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16], help="of inference")
    parser.add_argument("--images", type=int, default=160, help="images that each engine infers at each batch size")
    parser.add_argument("--repeats", type=int, default=8, help="times that each thing is measured, at least 2")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()
    find_peers(arguments, compiled=not arguments.no_compile)

    begin = time.perf_counter()
    print(machine(1))
    names = {"TensorFlow": "tensorflow", "Keras": "keras", "PyTorch": "torch", "torchvision": "torchvision"}
    print(f"{versions(**names, ONNX_Runtime='onnxruntime', OpenVINO='openvino')}; seeds 0")
    begin_table(arguments.repeats)
    for name in arguments.rows:
        {"training": training, "inference": inference}[name](arguments)
    print(f"\n{time.perf_counter() - begin:.0f} seconds in all")


if __name__ == "__main__":
    main()
