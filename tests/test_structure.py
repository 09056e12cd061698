"""The shape of the source tree: data flows one way, the core needs no TensorFlow, nothing asserts or prints."""

import ast
import importlib.util
import pathlib
import subprocess
import sys

import pytest

import keras_inception

PACKAGE = pathlib.Path(keras_inception.__file__).parent

# Each room imports only rooms above it. Those of `PURE` need no TensorFlow, but for the files of `NEEDS_TENSORFLOW`.
PURE = (
    "errors",
    "types",
    "files",
    "undocumented",
    "architectures",
    "weights",  # `GoogLeNet(weights="imagenet")` loads them, and they need no model's class
    "network",
    "recipes",
    "plots",
    "evaluation",
)
TENSORFLOW = ("data", "training", "serving", "study", "tuning", "cli", "__main__")
ORDER = (*PURE, *TENSORFLOW)
NEEDS_TENSORFLOW = {"evaluation/gradcam.py", "network/replicas.py", "network/tensorflow_step.py", "undocumented.py"}
NOT_IN_THE_CORE = {"tensorflow", "tensorflow_datasets", "keras_tuner"}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    """Returns the name in `ORDER` of a file of the package; a folder of a name counts as the file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, package="keras_inception"):
    """Returns the absolute names that a file imports at any depth, functions and `TYPE_CHECKING` blocks included."""
    folder = (package, *path.relative_to(PACKAGE).parts[:-1])
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = list(folder[: len(folder) - node.level + 1]) if node.level else []
            origin = ".".join(origin + ([node.module] if node.module else []))
            # `from keras_inception import blocks` imports a module, `from keras_inception.blocks import x` does not.
            names += [f"{origin}.{alias.name}" for alias in node.names] if origin == package else [origin]
    return names


def imported_modules(path):
    """Returns the modules of the package that a file imports, its own folder left out."""
    own = [
        name.split(".")[1] if "." in name else "" for name in imports(path) if name.split(".")[0] == "keras_inception"
    ]
    return set(own) - {module_of(path)}


def file_ids(path):
    return str(path.relative_to(PACKAGE))


MODULE_FILES = [path for path in FILES if path != PACKAGE / "__init__.py"]


def test_every_file_has_its_place_in_the_order():
    unknown = {module_of(path) for path in MODULE_FILES} - set(ORDER)
    assert not unknown, f"{sorted(unknown)} stand nowhere in the flow of the data: {' -> '.join(ORDER)}"
    assert {"architectures", "weights", "network", "data", "training"} <= set(map(module_of, FILES))


@pytest.mark.parametrize("path", MODULE_FILES, ids=file_ids)
def test_modules_import_only_what_stands_left_of_them(path):
    if module_of(path) not in ORDER:
        pytest.fail(f"{module_of(path)} stands nowhere in the order")
    left = set(ORDER[: ORDER.index(module_of(path))])
    wrong = imported_modules(path) - left - {"__version__"}
    assert not wrong, f"{file_ids(path)} imports {sorted(wrong)}; it may import {', '.join(sorted(left))}"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULE_FILES if module_of(path) in PURE and file_ids(path) not in NEEDS_TENSORFLOW],
    ids=file_ids,
)
def test_the_core_imports_no_tensorflow(path):
    wrong = {name.split(".")[0] for name in imports(path)} & NOT_IN_THE_CORE
    assert not wrong, f"{file_ids(path)} imports {sorted(wrong)}; use `keras.ops`, or move it to a room below `data`"


@pytest.mark.parametrize("path", FILES, ids=file_ids)
def test_the_library_neither_asserts_nor_prints(path):
    for node in ast.walk(ast.parse(path.read_text())):
        place = f"{file_ids(path)}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), (
            f"{place}: raise an error with rule, reason and value in place of `assert`"
        )
        if module_of(path) != "cli" and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{place}: return or raise it; only the command prints"


def test_the_checks_above_see_what_they_forbid(tmp_path, monkeypatch):
    source = (
        "import keras_inception.cli\n"
        "def f():\n"
        "    import tensorflow as tf\n"
        "    from keras_inception import training, __version__\n"
        "    from keras_inception.data.folder import g\n"
        "    from . import export\n"
        "    from .hypermodel import h\n"
    )
    path = tmp_path / "blocks.py"
    path.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert imported_modules(path) == {"cli", "training", "__version__", "data", "export", "hypermodel"}
    assert "tensorflow" in imports(path)
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "caffe.py"
    path.write_text("from .layout import a\nfrom ..data import b\nfrom .. import cli\nfrom . import slim\n")
    assert imported_modules(path) == {"data", "cli"}


WITHOUT_TENSORFLOW = """
import sys

for blocked in ("tensorflow", "tensorflow_datasets", "keras_tuner"):
    sys.modules[blocked] = None  # `import` raises, while a look whether it is there, as PyTorch takes, finds nothing

import numpy as np
import keras_inception as ki

model = ki.GoogLeNet(architecture="googlenet_small", input_shape=(10, 10, 3), classes=3)
x = ki.preprocess_input(np.zeros((2, 10, 10, 3), "uint8"))
print(ki.inference_model(model).predict(x, verbose=0).shape, sys.modules["tensorflow"])
"""


def test_the_core_builds_and_predicts_without_tensorflow():
    backend = next((name for name in ("torch", "jax") if importlib.util.find_spec(name)), None)
    if backend is None:
        pytest.skip("needs PyTorch or JAX; neither is installed")
    environment = {"KERAS_BACKEND": backend, "PATH": "", "PYTHONPATH": str(PACKAGE.parent)}
    run = subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[-2] == "(2, 3) None"
