"""Configuration files: TOML, YAML and JSON in which nothing stands twice and numbers are what they look like."""

import json
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import Any

from keras_inception import files
from keras_inception.errors import InputError, shown
from keras_inception.types import PathLike

MOST_CHARACTERS: int = 2**20  # of a file, which would be read for minutes if it is YAML


def read_configuration(path: PathLike) -> Any:
    """Returns what a TOML, YAML or JSON file holds; its ending tells which it is.

    Raises:
        InputError: The file is missing or malformed, names something twice, or has another ending.
    """
    ending = files.named(path, "path").suffix.lower()
    if ending not in PARSERS:
        raise InputError(f"A configuration is a file whose name ends in {', '.join(PARSERS)}. Received: {shown(path)}")
    kind, loads = PARSERS[ending]

    def parse(text: str) -> Any:
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"it has {len(text):,} characters, and a configuration a few thousand")
        return loads(text)

    return files.read_text(path, parse, kind)


def _each_once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Returns pairs as a dict; refuses a name that stands there twice, of which one would be left out."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} stands there twice")
        found[name] = value
    return found


def _loads_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_each_once)


def _loads_yaml(text: str) -> Any:
    """Reads YAML with the numbers of YAML 1.2: 010 is ten, 1e-3 a number and 1:30 none."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012, as PyYAML has it
            start: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float"))]
            for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            _each_once((key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            return super().construct_mapping(node, deep)

    number = r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
    for kind, pattern in (("int", r"[-+]?\d+$"), ("float", number)):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list("-+.0123456789"))
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
    try:
        return yaml.load(text, Loader)
    except Exception as error:  # of all kinds, for what a tag may be put before
        raise ValueError(str(error) or type(error).__name__) from error


# By ending of the file, its format and what reads it.
PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    ".toml": ("TOML", tomllib.loads),
    ".yaml": ("YAML", _loads_yaml),
    ".yml": ("YAML", _loads_yaml),
    ".json": ("JSON", _loads_json),
}
