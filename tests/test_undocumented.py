"""Undocumented names stand in one file, each is still there, and nothing is assigned onto what others made."""

import ast
import inspect
import os
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_inception
from keras_inception import undocumented

PACKAGE = pathlib.Path(keras_inception.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "undocumented.py")
FOREIGN = ("keras", "tensorflow", "keras_tuner")

# Attributes that may be set on an object that is not `self`: documented ones of Keras and TensorFlow, and our own.
SETTABLE = {
    "trainable": "keras.layers.Layer.trainable: freezing",
    "stop_training": "keras.Model.stop_training: what a callback sets to end `fit`",
    "experimental_distribute": "tf.data.Options",
    "auto_shard_policy": "tf.data.Options",
    "deterministic": "tf.data.Options",
    "enabled": "tf.data.Options.autotune",
    "apply_default_optimizations": "tf.data.Options.experimental_optimization",
    "experimental_warm_start": "tf.data.Options",
    "type": "a field of a protobuf message that was just made",
    "type_name": "a field of a protobuf message that was just made",
    "packed": "a field of a protobuf message that was just made",
    "values": "keras_tuner.HyperParameters.values, of one that was just made",
    "architecture": "ours, of an InceptionModel",
    "class_names": "ours, of an InceptionModel",
    "preprocessing": "ours, of an InceptionModel",
    "default_loss_weights": "ours, of an InceptionModel",
    "epoch": "ours, of a checkpoint's Progress",
    "best": "ours, of a checkpoint's Progress",
}


def name_of(node):
    """Returns an expression such as `keras.layers.Layer` as its names, or []."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := name_of(node.value)):
        return [*before, node.attr]
    return []


def is_own(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_private(name):
    return name.startswith("_") and not name.endswith("__")


class Source:
    """A file of the package, and what is wrong with it."""

    def __init__(self, path, text=None):
        self.tree = ast.parse(path.read_text() if text is None else text)
        self.imported = {}  # by name in the file, the full name
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported[alias.asname or alias.name.split(".")[0]] = alias.name
            elif isinstance(node, ast.ImportFrom):
                self.imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        self.classes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    def bases(self, node):
        """Returns the bases of a class: full names of foreign ones, plain names of ours."""
        for base in node.bases:
            first, *rest = name_of(base) or [""]
            full = ".".join([self.imported.get(first, first), *rest])
            yield full if full.split(".")[0] in FOREIGN else full.rsplit(".", 1)[-1]

    def wrong(self):
        """Yields the line and the reason of everything that no file but undocumented.py may hold."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and ("src" in (node.module or "").split(".")):
                yield node.lineno, f"imports from {node.module}"
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                for alias in node.names:
                    if "src" in alias.name.split(".") or is_private(alias.name):
                        yield node.lineno, f"imports {alias.name}"
            elif isinstance(node, ast.Attribute):
                if (
                    node.attr == "src"
                    or node.attr == "__qualname__"
                    or (is_private(node.attr) and not is_own(node.value))
                ):
                    yield node.lineno, f"reads {ast.unparse(node)}"
                if isinstance(node.ctx, (ast.Store, ast.Del)) and not is_own(node.value) and node.attr not in SETTABLE:
                    yield node.lineno, f"assigns or deletes {ast.unparse(node)}"
            elif isinstance(node, ast.Call) and name_of(node.func) in (["setattr"], ["delattr"], ["getattr"]):
                read = node.func.id == "getattr"
                name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
                if (is_private(name) or name == "__qualname__" or not read) and not is_own(node.args[0]):
                    yield node.lineno, f"calls {ast.unparse(node)}"
            elif isinstance(node, ast.ExceptHandler) and node.name:
                yield from matches_on_messages(node)


def matches_on_messages(handler):
    """Yields where an error is told by its message."""

    def has_message(node):
        return any(
            isinstance(part, ast.Call) and name_of(part.func) == ["str"] and name_of(part.args[0]) == [handler.name]
            for part in ast.walk(node)
        )

    for node in ast.walk(handler):
        compares = isinstance(node, ast.Compare) and has_message(node)
        calls = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if calls and node.func.attr in ("startswith", "endswith"):
            compares = has_message(node.func)
        elif calls and name_of(node.func)[:1] == ["re"]:
            compares = any(map(has_message, node.args))
        if compares:
            yield node.lineno, f"looks into a message: {ast.unparse(node)}"


def own_names(node):
    """Yields the names that a class defines, for itself or for its objects."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and is_own(part.value):
            yield part.attr
        elif isinstance(part, (ast.FunctionDef, ast.ClassDef)):
            yield part.name
    for part in node.body:
        targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def inherited_names(sources):
    """Yields the file, line and name of each `self._x` that a class from a foreign one uses and does not define."""
    bases, defined = {}, {}
    for source in sources.values():
        for node in source.classes:
            bases.setdefault(node.name, set()).update(source.bases(node))
            defined.setdefault(node.name, set()).update(own_names(node))

    def line(name):
        return {name}.union(*(line(base) for base in bases.get(name, ())))

    lines = [line(name) for name in bases]
    for path, source in sources.items():
        for node in source.classes:
            # A class that is mixed into a foreign one counts as one.
            related = set().union(*(other for other in lines if node.name in other))
            if not any("." in name for name in related):
                continue
            known = set().union(*(defined.get(name, ()) for name in line(node.name)))
            reads = [part for part in ast.walk(node) if isinstance(part, ast.Attribute) and is_own(part.value)]
            for part in reads:
                if is_private(part.attr) and part.attr not in known:
                    yield path, part.lineno, f"self.{part.attr} in {node.name} is not ours"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_reads_nothing_undocumented_and_assigns_nothing_onto_others(path):
    wrong = [f"{path.relative_to(PACKAGE)}:{line} {reason}" for line, reason in Source(path).wrong()]
    assert not wrong, "\n".join([*wrong, "Do without, or put it into undocumented.py with its reason and a test."])


def test_no_class_uses_what_it_inherits_undocumented():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} {reason}"
        for path, line, reason in inherited_names({path: Source(path) for path in FILES})
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "from keras.src import backend",
        "import keras.src.backend",
        "from keras_inception.training.loop import _callbacks",
        "x = keras.src",
        "x = model._metrics",
        "x = super()._random_values()",
        "x = getattr(model, '_in_multi_worker_mode', None)",
        "x = function.__qualname__",
        "x = getattr(function, '__qualname__', '')",
        "model.train_function = 1",
        "model.count += 1",
        "del model.compile",
        "model.seed.next = next",
        "setattr(model, 'seed', 1)",
        "try: f()\nexcept ValueError as error: x = 'axis' in str(error)",
        "try: f()\nexcept ValueError as error: x = str(error).startswith('axis')",
        "try: f()\nexcept ValueError as error: x = re.search('axis', str(error))",
    ],
)
def test_the_check_sees_what_it_forbids(line):
    assert list(Source(None, line).wrong())


@pytest.mark.parametrize(
    "line",
    [
        "self._steps = 1",
        "x = self._steps",
        "layer.trainable = False",
        "x = type(error).__name__",
        "try: f()\nexcept ValueError as error: raise InputError(f'{error}') from error",
    ],
)
def test_the_check_lets_pass_what_is_ours_or_documented(line):
    assert not list(Source(None, line).wrong())


def test_the_check_sees_inherited_names():
    text = (
        "import keras\n"
        "class Own(keras.Model):\n"
        "    def build(self):\n"
        "        self._mine = self._heads()\n"
        "        return self._tracker\n"
        "    def _heads(self): pass\n"
        "class Further(Own):\n"
        "    def call(self): return self._mine, self._theirs\n"
        "class Plain:\n"
        "    def call(self): return self._anything\n"
    )
    found = list(inherited_names({"file": Source(None, text)}))
    assert [reason for _, _, reason in found] == [
        "self._tracker in Own is not ours",
        "self._theirs in Further is not ours",
    ]


def test_each_name_has_its_reason_its_version_and_its_test():
    tests = pathlib.Path(__file__).read_text()
    for name, item in inspect.getmembers(undocumented, lambda item: inspect.isfunction(item) or inspect.isclass(item)):
        text = inspect.getdoc(item) or ""
        assert "Why:" in text, f"{name} says no reason"
        assert "Since:" in text, f"{name} says no version"
        assert f"undocumented.{name}" in tests, f"{name} has no test"


def test_undocumented_imports_nothing_before_it_is_needed():
    tree = ast.parse(pathlib.Path(undocumented.__file__).read_text())
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]


@pytest.mark.tensorflow
def test_keras_builds_metrics_by_the_name_that_is_overridden():
    (name,) = (name for name in vars(undocumented.BuildsWithoutReading) if name.endswith("_build"))
    parameters = inspect.signature(getattr(keras.Model, name)).parameters
    assert list(parameters) == ["self", "iterator", "data_batch"]


@pytest.mark.tensorflow
def test_joining_workers_late_is_told_by_its_message():
    import tensorflow as tf

    tf.zeros(1)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": ["127.0.0.1:1", "127.0.0.1:2"]}), task_type="worker", task_id=0
    )
    with pytest.raises(RuntimeError) as caught:
        tf.distribute.MultiWorkerMirroredStrategy(resolver)
    assert undocumented.is_of_late_joining(caught.value)
    assert not undocumented.is_of_late_joining(RuntimeError("no matter"))


# In a process of its own: no collective operation works after it.
ABORTED = """
import tensorflow as tf
from tensorflow.python.eager import context
from keras_inception import undocumented

resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
    tf.train.ClusterSpec({"worker": ["127.0.0.1:0"]}), task_type="worker", task_id=0
)
strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
context.context().abort_collective_ops(13, "a peer ended")
try:
    tf.raw_ops.CollectiveReduceV2(
        input=1.0, group_size=2, group_key=7, instance_key=7, ordering_token=[], merge_op="Add", final_op="Id"
    )
except tf.errors.InternalError as error:
    print("told:", undocumented.is_of_collective(error), error.message)
"""


@pytest.mark.tensorflow
def test_a_failed_collective_is_told_by_its_message():
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, "-c", ABORTED], env=environment, capture_output=True, text=True)
    assert run.stdout.startswith("told: True"), run.stdout + run.stderr
    assert not undocumented.is_of_collective(ValueError("no matter"))
