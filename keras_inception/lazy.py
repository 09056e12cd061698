"""Names of a package that are imported when they are first used."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def importer(package: str, names_of: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Returns the `__getattr__` of a package.

    Args:
        package: Its `__name__`.
        names_of: By the module that has them, relative to the package, the names; of `""` those of modules.
    """
    homes = {name: home for home, names in names_of.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(package + (homes[name] or f".{name}"))
        value = getattr(module, name) if homes[name] else module
        setattr(sys.modules[package], name, value)
        return value

    return get
