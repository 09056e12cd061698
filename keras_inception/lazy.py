"""Names of a package that are imported when they are first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Importer = Callable[[str], Any]


def importer(namespace: dict[str, Any], names_of: Mapping[str, Sequence[str]]) -> Importer:
    """Returns the `__getattr__` of a package.

    Args:
        namespace: Its `globals()`, which keep what was imported.
        names_of: By the module that has them, relative to the package, the names; of `""` those of modules.
    """
    package: str = namespace["__name__"]
    homes = {name: home for home, names in names_of.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(package + (homes[name] or f".{name}"))
        value = getattr(module, name) if homes[name] else module
        namespace[name] = value
        return value

    return get
