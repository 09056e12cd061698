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
    "lazy",
    "errors",
    "types",
    "undocumented",
    "files",
    "configurations",
    "rules",
    "architectures",
    "weights",  # `GoogLeNet(weights="imagenet")` loads them, and they need no model's class
    "network",
    "recipes",
    "plots",
    "evaluation",
)
TENSORFLOW = ("data", "training", "serving", "study", "tuning", "cli", "__main__")
ORDER = (*PURE, *TENSORFLOW)
NEEDS_TENSORFLOW = {
    "evaluation/gradcam.py",
    "network/read_once.py",
    "network/replicas.py",
    "network/tensorflow_ops.py",
    "network/tensorflow_step.py",
    "undocumented.py",
    "weights/slim.py",  # reads TensorFlow's checkpoints
}
NOT_IN_THE_CORE = {"tensorflow", "tensorflow_datasets", "keras_tuner"}


def module_of(path):
    """Returns the name in `ORDER` of a file of the package; a folder of a name counts as the file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree, folder):
    """Yields the absolute names that a file imports at any depth, functions and `TYPE_CHECKING` blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from keras_inception import blocks` imports a module, `from keras_inception.blocks import x` does not.
            yield from (f"{origin}.{alias.name}" for alias in node.names) if origin == "keras_inception" else [origin]


def wrong(path, text):
    """Yields what a file of the package may not hold."""
    tree, room, file = ast.parse(text), module_of(path), str(path.relative_to(PACKAGE))
    names = list(imports(tree, ["keras_inception", *path.relative_to(PACKAGE).parts[:-1]]))
    own = {name.split(".")[1] for name in names if name.startswith("keras_inception.")} - {room, "__version__"}
    if room not in ORDER:
        yield f"{room} stands nowhere in the flow of the data: {' -> '.join(ORDER)}"
    elif later := own - set(ORDER[: ORDER.index(room)]):
        yield f"imports {sorted(later)}, which stand after {room}"
    if room in PURE and file not in NEEDS_TENSORFLOW and (heavy := NOT_IN_THE_CORE & {n.split(".")[0] for n in names}):
        yield f"imports {sorted(heavy)}; use `keras.ops`, or move it to a room below `data`"
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: raise an error with rule, reason and value in place of `assert`"
        if room != "cli" and isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{node.lineno}: return or raise it; only the command prints"


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_file_imports_what_stands_before_it_and_neither_asserts_nor_prints(path):
    assert not list(wrong(path, path.read_text()))


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("network/blocks.py", "import keras_inception.cli", "imports ['cli'], which stand after network"),
        ("network/blocks.py", "def f():\n    from keras_inception import training, __version__", "['training']"),
        ("network/blocks.py", "from keras_inception.data.folder import g", "['data']"),
        ("weights/caffe.py", "from .layout import a\nfrom ..data import b\nfrom .. import cli", "['cli', 'data']"),
        ("network/blocks.py", "def f():\n    import tensorflow as tf", "imports ['tensorflow']"),
        ("nowhere.py", "", "nowhere stands nowhere"),
        ("data/loading.py", "assert True", "raise an error"),
        ("data/loading.py", "print()", "only the command prints"),
    ],
)
def test_the_check_sees_what_it_forbids(file, line, message):
    [found] = wrong(PACKAGE / file, line)
    assert message in found


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
