"""Loads damaged weights files of every format, hundreds of them, and checks that all or nothing was loaded.

    python mutants.py FOLDER MUTANTS_OF_EACH

The test runs it in a process of its own, whose end, time and memory can be checked. It prints a line of JSON.
"""

import dataclasses
import io
import json
import pathlib
import random
import resource
import shutil
import sys
import tarfile
import warnings
import zipfile

import keras
import numpy as np
import published_networks as published
import tensorflow as tf

import keras_inception as ki
from keras_inception.architectures import AuxiliaryHead, Conv, Inception, MaxPool
from keras_inception.training import runs
from keras_inception.weights import SOURCES, load_published_weights

# Three convolutions and a module, so that a file is small and most damage hits what is read.
ROWS = (
    Conv("conv1_7x7_s2", 7, 2, 4),
    MaxPool("pool1_3x3_s2", 3, 2),
    Conv("conv2_3x3", 3, 1, 6, reduce=4),
    MaxPool("pool2_3x3_s2", 3, 2),
    Inception("inception_4a", 4, 4, 4, 4, 4, 4),
)
HEADS = (AuxiliaryHead("aux1", "inception_4a", "loss1", pool="adaptive_4x4", conv=4, dense=8),)


def small(source):
    """Registers a small architecture with the source, and returns a model of it."""
    known = SOURCES[source]
    heads = HEADS if known.architecture.auxiliary_heads else ()
    architecture = dataclasses.replace(
        known.architecture, name="small", rows=ROWS, auxiliary_heads=heads, image_size=32
    )
    SOURCES[source] = dataclasses.replace(known, architecture=architecture)
    return ki.GoogLeNet(architecture=architecture, classes=3)


def tensors_of(model, source):
    """Returns the model's weights as the publisher's tensors, by the file's names."""
    found = {}
    for name, tensor in SOURCES[source].tensors().items():
        layer, weight = name.split("/")
        array = np.array(getattr(model.get_layer(layer), weight))
        if source != "tf_slim" and weight == "kernel":
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        elif source == "tf_slim" and layer == "loss3_classifier" and weight == "kernel":
            array = array[None, None]
        found[tensor.name] = array
    return found


def write(source, model, folder):
    """Writes the files of a format; returns what is given to load, and what reads it."""
    if source == "keras":
        model.save_weights(folder / "x.weights.h5")
        model.save(folder / "x.keras")
        return [
            (folder / "x.weights.h5", model.load_weights),
            (folder / "x.keras", model.load_weights),
            (folder / "x.keras", runs.load_model),
        ]
    tensors = tensors_of(model, source)

    def load(path):
        load_published_weights(model, source, path)

    if source == "bvlc":
        layers = {}
        for name, array in tensors.items():
            layers.setdefault(name.split("[")[0], []).append(array)
        for encoding, header in (("layers", "legacy"), ("layer", "shape")):
            content = published.caffemodel(layers, encoding=encoding, header=header)
            (folder / f"{encoding}.caffemodel").write_bytes(content)
        return [(folder / f"{encoding}.caffemodel", load) for encoding in ("layers", "layer")]
    if source == "torchvision":
        import torch

        state = {name: torch.from_numpy(array) for name, array in tensors.items()}
        torch.save(state, folder / "zip.pth")
        torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
        return [(folder / "zip.pth", load), (folder / "old.pth", load)]
    published.write_checkpoint(tf, folder / "one.ckpt", tensors)
    published.write_checkpoint(tf, folder / "two.ckpt", tensors, version=2)
    with tarfile.open(folder / "x.tar.gz", "w:gz") as archive:
        archive.add(folder / "one.ckpt", "inception_v1.ckpt")
    index, data = folder / "two.ckpt.index", folder / "two.ckpt.data-00000-of-00001"
    return [(folder / "one.ckpt", load), (folder / "x.tar.gz", load), (index, load), (data, lambda _: load(index))]


def mutated(content, draw):
    """Returns the bytes with a part missing, changed, swapped, doubled, or a length that is far too large."""
    content = bytearray(content)
    at = draw.randrange(len(content))
    kind = draw.choice(["cut", "flip", "flip", "length", "swap", "double", "remove"])
    if kind == "cut":
        return bytes(content[:at])
    if kind == "flip":
        for _ in range(draw.choice([1, 4, 32])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "length":
        content[at : at + 8] = draw.choice([b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"\x00" * 4 + b"\x01"])
    elif kind == "swap":
        other = draw.randrange(len(content))
        content[at : at + 8], content[other : other + 8] = content[other : other + 8], content[at : at + 8]
    elif kind == "double":
        content[at:at] = content[at : at + draw.randrange(1, 200)]
    else:
        del content[at : at + draw.randrange(1, 200)]
    return bytes(content)


def inner_mutated(content, draw):
    """Returns a zip archive of which one member was damaged, so that its checksum is sound."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as written:
        chosen = draw.choice([name for name in archive.namelist() if archive.getinfo(name).file_size])
        for name in archive.namelist():
            member = archive.read(name)
            written.writestr(name, mutated(member, draw) if name == chosen else member)
    return out.getvalue()


def try_mutants(model, path, load, count, draw, found):
    """Loads mutants of a file; the model is as before a refusal, and new and finite everywhere after a success."""
    content, folder = path.read_bytes(), path.parent
    start = [np.full(weight.shape, 0.625, "float32") for weight in model.weights]
    for number in range(count):
        is_inner = zipfile.is_zipfile(io.BytesIO(content)) and number % 2
        mutant = (inner_mutated if is_inner else mutated)(content, draw)
        if number == 0:
            mutant = content  # sound
        path.write_bytes(mutant)
        for weight, old in zip(model.weights, start):
            weight.assign(old)
        try:
            loaded = load(path) or model
            found["loaded"] += 1
            bad = [weight.path for weight in loaded.weights if not np.isfinite(weight).all() or np.all(weight == 0.625)]
        except (ki.InputError, OSError) as error:
            found["refused"] += 1
            bad = [weight.path for weight, old in zip(model.weights, start) if not np.array_equal(weight, old)]
            if "\n" in str(error):
                bad.append("a message of several lines")
        except Exception as error:
            bad = [f"{type(error).__name__}: {error}"]
        if number == 0 and not found["loaded"]:
            bad.append("the sound file was refused")
        if bad:
            (folder.parent / f"bad-{len(found['bad'])}-{path.name}").write_bytes(mutant)
            found["bad"].append(f"{path.name}, mutant {number}: {bad[0][:300]}")
    path.write_bytes(content)


def main(folder, count):
    warnings.simplefilter("ignore")
    keras.utils.set_random_seed(0)
    draw, found, memory = random.Random(0), {"loaded": 0, "refused": 0, "bad": []}, 0
    for source in ("bvlc", "torchvision", "tf_slim", "keras"):
        model = small("bvlc" if source == "keras" else source)
        shutil.rmtree(folder / source, ignore_errors=True)
        (folder / source).mkdir()
        for path, load in write(source, model, folder / source):
            load(path)  # whatever memory the library takes for a sound file
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try_mutants(model, path, load, count, draw, found)
            memory = max(memory, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(json.dumps({**found, "megabytes": memory // 1024}))  # noqa: T201, what the test reads


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
