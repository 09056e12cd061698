"""Torchvision's GoogLeNet, also where torchvision's compiled operators do not fit the installed PyTorch."""

import importlib.util
import re
from pathlib import Path


def import_torchvision():
    """Imports torch and torchvision; the models and transforms do without the compiled operators.

    The torchvision of the registry is built for CUDA. Beside a PyTorch without CUDA its operators do not load, and the
    import stops at their missing names; here the names are defined first.

    Returns:
        The two modules.

    Raises:
        ImportError: One of them is not installed.
    """
    import torch

    specification = importlib.util.find_spec("torchvision")
    if specification is None:
        raise ImportError("torchvision is not installed")
    text = Path(specification.origin).with_name("_meta_registrations.py").read_text()
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in {*re.findall(r'"torchvision::(\w+)"', text), *re.findall(r'register_meta\("(\w+)"', text)}:
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}() -> Tensor")
    import torchvision

    torchvision.names_of_operators = library  # they live as long as the library
    return torch, torchvision
