"""A network of ONNX in 8 bits: ONNX Runtime's static quantization.

Reference: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
arXiv:1712.05877.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from keras_inception.types import Array


def quantize_onnx(path: Path, name: str, images: Sequence[Array]) -> None:
    """Replaces the file of a network of float32 by one that computes in 8 bits.

    Each channel of a kernel has a scale of its own, each map one that the smallest and largest values of the images
    give. Kernels take 7 of the 8 bits, because processors without VNNI add products of 8 bits with 16, which overflow.

    Args:
        path: The file, which has one input.
        name: The name of its input.
        images: Inputs, `(1, height, width, channels)` each.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self.images = iter(images)

        def get_next(self) -> dict[str, Array] | None:
            image = next(self.images, None)
            return None if image is None else {name: image}

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(os.fspath(path), os.fspath(prepared), skip_symbolic_shape=True)
    quantization.quantize_static(
        os.fspath(prepared),
        os.fspath(path),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
    )
    prepared.unlink()
