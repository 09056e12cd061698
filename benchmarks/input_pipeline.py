"""Measures the input pipeline beside torchvision's transforms and OpenCV on one core: JPEG files to normalised crops.

The plain pipeline crops 8% to 100% of the area, resizes to 224x224, flips half of the images and normalises; the other
one does all of the paper's distortions. Every repeat runs all pipelines one after the other, so that a slow moment of
the machine meets all of them; ratios are taken within each repeat. The time is CPU time, which other programs do not
lengthen by waiting. What TensorFlow does once, when an iterator begins, is not in it.

    pip install -e ".[benchmarks]" opencv-python-headless
    python benchmarks/input_pipeline.py

Peers that are not installed are left out.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf
from machine import cell, machine, ratios, row, table, version, versions
from peers import import_torchvision
from PIL import Image

from keras_inception.data import augmentation
from keras_inception.data.augmentation.operations import IMAGENET_EIGENVALUES, IMAGENET_EIGENVECTORS
from keras_inception.data.augmentation.windows import random_window, resize_by_scale
from keras_inception.network.preprocess import preprocess_input
from keras_inception.recipes import PAPER_DISTORTIONS, Augmentation

CROP_AND_FLIP = Augmentation(crop_area=(0.08, 1.0), flip=True)


def write_images(folder, count, height, width, quality):
    """Writes JPEG files with the sizes of photographs: smooth colours and some noise, 4:2:0."""
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        small = random.integers(0, 256, (height // 12, width // 12, 3), dtype="uint8")
        image = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), "float32")
        image = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype("uint8")
        paths.append(str(Path(folder) / f"{number:04d}.jpg"))
        Image.fromarray(image).save(paths[-1], quality=quality)
    return paths


def pipeline(paths, size, what):
    """Returns a function that reads all files once, through `tf.data`; the next call goes on with the same iterator."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    # Nothing may be read ahead while another pipeline is measured.
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False

    @tf.autograph.experimental.do_not_convert
    def example(position, path):
        seed = augmentation.example_seed(0, 0, position)
        image = augmentation.augment(tf.io.read_file(path), (size, size, 3), seed, what)
        return preprocess_input(image, "channels_last")

    dataset = tf.data.Dataset.from_tensor_slices(paths).repeat().enumerate().map(example)
    # One of as many as there are files comes out: TensorFlow makes the others too, as it does where it makes batches.
    images = iter(dataset.shard(len(paths), len(paths) - 1).with_options(options))
    return lambda: next(images)


def torchvision_pipeline(paths, size, *, paper=False, tensors=False):
    """Returns the same with torchvision's transforms, as in its recipes: v1 on Pillow's images, or v2 on tensors."""
    torch, torchvision = import_torchvision()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if tensors:
        from torchvision.transforms import v2 as transforms

        # Its own decoder is compiled for CUDA's builds; Pillow's is as fast within 20%.
        begin = [transforms.PILToTensor()]
        end = [transforms.ToDtype(torch.float32, scale=True)]
    else:
        transforms = torchvision.transforms
        begin, end = [], [transforms.ToTensor()]
    modes = transforms.InterpolationMode
    # Tensors have no interpolation by areas.
    every = (modes.BILINEAR, modes.BILINEAR if tensors else modes.BOX, modes.NEAREST, modes.BICUBIC)
    crops = [transforms.RandomResizedCrop(size, interpolation=mode) for mode in (every if paper else every[:1])]
    axes = torch.tensor(IMAGENET_EIGENVECTORS) * torch.tensor(IMAGENET_EIGENVALUES)

    def light(image):
        return (image + (axes @ torch.normal(0.0, 0.1, (3,)))[:, None, None]).clamp_(0, 1)

    transform = transforms.Compose(
        [
            *begin,
            transforms.RandomChoice(crops),
            transforms.RandomHorizontalFlip(),
            *([transforms.ColorJitter(0.5, 0.5, 0.5)] if paper else []),
            *end,
            *([transforms.Lambda(light)] if paper else []),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )

    def run():
        for path in paths:
            with Image.open(path) as image:
                transform(image.convert("RGB"))

    return run


def opencv_pipeline(paths, size):
    """Returns the plain pipeline in OpenCV and NumPy; its bilinear interpolation is not antialiased."""
    import cv2

    cv2.setNumThreads(1)
    random = np.random.default_rng(0)

    def window(height, width):
        for _ in range(10):  # torchvision's way
            area, ratio = random.uniform(0.08, 1) * height * width, np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
            rows, columns = round((area / ratio) ** 0.5), round((area * ratio) ** 0.5)
            if rows <= height and columns <= width:
                return random.integers(height - rows + 1), random.integers(width - columns + 1), rows, columns
        return 0, 0, height, width

    def run():
        for path in paths:
            image = cv2.imread(path)
            top, left, rows, columns = window(*image.shape[:2])
            image = cv2.resize(image[top : top + rows, left : left + columns], (size, size))
            if random.random() < 0.5:
                image = cv2.flip(image, 1)
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype("float32") / 127.5 - 1

    return run


def compare(title, paths, size, repeats, *, paper=False):
    """Prints a table of the pipelines."""
    runs = {"this package": pipeline(paths, size, PAPER_DISTORTIONS if paper else CROP_AND_FLIP)}
    if version("torchvision") != "not installed":
        runs["torchvision, v1 on Pillow"] = torchvision_pipeline(paths, size, paper=paper)
        runs["torchvision, v2 on tensors"] = torchvision_pipeline(paths, size, paper=paper, tensors=True)
    if version("opencv-python-headless") != "not installed" and not paper:
        runs["OpenCV"] = opencv_pipeline(paths, size)
    seconds = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    table(title, "pipeline", "images a second", "ours to it")
    for name, times in seconds.items():
        ratio = "" if name == "this package" else cell(ratios(times, seconds["this package"]))
        row(name, cell([len(paths) / each for each in times], ".0f"), ratio)


def compare_pixels(size, count=400):
    """Prints how far ways to resize are from Pillow's antialiased bilinear interpolation, on random crops."""
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(image).resize((500, 334)) for image in load_sample_images().images]
    ways = {
        "by scale, as random crops here": lambda crop: resize_by_scale(crop, size, size, antialias=False),
        "antialiased, as validation here": lambda crop: tf.image.resize(crop, (size, size), antialias=True),
        "not antialiased": lambda crop: tf.image.resize(crop, (size, size)),
        "Pillow, bicubic": lambda crop: np.asarray(Image.fromarray(crop).resize((size, size))),
    }
    found = {way: {"all": [], "larger": [], "smaller": []} for way in ways}
    for number in range(count):
        image = np.asarray(photographs[number % len(photographs)])
        draws = tf.random.stateless_uniform((4,), augmentation.example_seed(0, 0, number))
        top, left, height, width = random_window(image.shape[:2], draws, (0.08, 1.0), (3 / 4, 4 / 3)).numpy()
        crop = image[top : top + height, left : left + width]
        expected = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR), "float32")
        for way, resize in ways.items():
            error = float(np.sqrt(np.mean((np.asarray(resize(crop), "float32") - expected) ** 2)))
            for kind in ("all", "smaller" if height * width > size * size else "larger"):
                found[way][kind].append(error)
    table(
        "Root mean square difference from Pillow's antialiased bilinear interpolation, in values of 0 to 255: mean of "
        f"{count} crops of scikit-learn's two photographs at 500x334, all, that become larger, that become smaller.",
        "resized", "all", "larger", "smaller",
    )  # fmt: skip
    for way, errors in found.items():
        row(way, *(f"{np.mean(each):.2f}" for each in errors.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50, help="JPEG files of 500x375 that are made")
    parser.add_argument("--large-images", type=int, default=8, help="JPEG files of 2000x1500 that are made")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files, 1 to 95")
    parser.add_argument("--size", type=int, default=224, help="height and width of the crops, in pixels")
    parser.add_argument("--repeats", type=int, default=15, help="times that every row is measured, at least 2")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])  # before TensorFlow starts its threads

    print(machine(1))
    packages = {"TensorFlow": "tensorflow", "PyTorch": "torch", "torchvision": "torchvision", "Pillow": "pillow"}
    print(versions(**packages, OpenCV="opencv-python-headless"))
    print(f"JPEG files of quality {arguments.quality}, 4:2:0, to {arguments.size}x{arguments.size}; seeds 0")
    print(f"Medians (quartiles) of {arguments.repeats} repeats in turns; ratio of images a second, above 1 is faster.")
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small"), Path(folder, "large")
        small.mkdir()
        large.mkdir()
        paths = write_images(small, arguments.images, 375, 500, arguments.quality)
        large_paths = write_images(large, arguments.large_images, 1500, 2000, arguments.quality)
        compare("500x375, plain", paths, arguments.size, arguments.repeats)
        compare("500x375, all of the paper's", paths, arguments.size, arguments.repeats, paper=True)
        compare("2000x1500, plain", large_paths, arguments.size, arguments.repeats)
    compare_pixels(arguments.size)


if __name__ == "__main__":
    main()
