"""Reads PyTorch state dicts and says where torchvision's GoogLeNet stands in one.

Reference: torchvision, `torchvision/models/googlenet.py`, for the names of the parameters and buffers.
"""

import os
from functools import partial

from keras_inception.architectures import Architecture
from keras_inception.errors import InputError, MissingPackageError
from keras_inception.types import Array, PathLike
from keras_inception.weights.layout import BRANCHES, Stored, convolutions, flattened_matrix, kernel, matrix

STEM = ("conv1", "conv2", "conv3")
BRANCH_MODULES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def read(path: PathLike) -> dict[str, Array]:
    """Reads a PyTorch state dict, without executing anything that the file may hold.

    Args:
        path: The file, in PyTorch's zip format or in the one before it, as published.

    Returns:
        A dict of arrays by the names of the parameters and buffers.

    Raises:
        MissingPackageError: PyTorch is not installed.
        InputError: The file is cut short, is no PyTorch file, or holds other things than tensors.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError(
            "Reading a PyTorch file needs the module `torch`, which is not installed. Run `pip install torch`."
        ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # PyTorch has no end of classes for what is wrong with a file
        raise InputError(
            "The file is cut short, is no PyTorch file, or holds other things than tensors, and those are not loaded, "
            "because they can execute code. Save it with `torch.save(model.state_dict(), path)`. "
            f"Received: path={str(path)!r}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            "The file must hold a state dict, names with tensors, as `torch.save(model.state_dict(), path)` writes it. "
            f"Received: path={str(path)!r}"
        )
    arrays, size = {}, os.path.getsize(path)
    for name, tensor in state.items():
        try:
            if tensor.is_complex() or tensor.nbytes > size:
                raise ValueError("its values are not those of a file of this size")
            arrays[str(name)] = tensor.detach().float().resolve_neg().numpy()
        except Exception as error:  # PyTorch's classes again: of sparse tensors, of those without data, ...
            raise InputError(
                "The tensors of a state dict must be dense, with real values, and neither quantized nor on the device "
                f'"meta", which has no values. Received: path={str(path)!r}, in which {name!r} is of {tensor.dtype}, '
                f"layout {tensor.layout}, device {tensor.device}"
            ) from error
    return arrays


def layout(architecture: Architecture) -> dict[str, Stored]:
    """Returns where the state dict holds each weight of the network: a dict of `Stored` by `"layer/weight"`."""
    stem, modules = convolutions(architecture)
    units = dict(zip(stem, STEM, strict=True))
    for module in modules:
        units |= {f"inception_{module}_{b}": f"inception{module}.{m}" for b, m in zip(BRANCHES, BRANCH_MODULES)}
    dense = {"loss3_classifier": ("fc", matrix)}
    for head in architecture.auxiliary_heads:
        units[f"{head.prefix}_conv"] = f"{head.name}.conv"
        dense[f"{head.prefix}_fc"] = (f"{head.name}.fc1", partial(flattened_matrix, channels=head.conv))
        dense[f"{head.prefix}_classifier"] = (f"{head.name}.fc2", matrix)
    found = {}
    for layer, unit in units.items():
        found[f"{layer}/kernel"] = Stored(unit, ".conv.weight", kernel)
        found |= {f"{layer}_bn/{weight}": Stored(unit, f".bn.{name}") for weight, name in BATCH_NORM.items()}
    for layer, (name, convert) in dense.items():
        found[f"{layer}/kernel"] = Stored(name, ".weight", convert)
        found[f"{layer}/bias"] = Stored(name, ".bias")
    return found
