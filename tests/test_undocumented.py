"""Undocumented names stand in one file, each is still there, and nothing is assigned onto what others made."""

import ast
import errno
import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import keras_inception
from keras_inception import undocumented

PACKAGE = pathlib.Path(keras_inception.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "undocumented.py")

# Attributes that may be set on an object that is not `self`: documented ones of Keras and TensorFlow, and our own.
SETTABLE = {
    "trainable": "keras.layers.Layer.trainable: freezing",
    "stop_training": "keras.Model.stop_training: what a callback sets to end `fit`",
    "showwarning": "warnings.showwarning, which Python says may be replaced",
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
    "resize": "ours, of an InceptionModel",
    "default_loss_weights": "ours, of an InceptionModel",
    "record": "ours, of an InceptionModel",
    "whole_size": "ours, of an InceptionModel",
    "epoch": "ours, of a checkpoint's Progress",
    "step": "ours, of a checkpoint's Progress",
    "best": "ours, of a checkpoint's Progress",
    "seconds": "ours, of a checkpoint's Progress",
}


INSIDE = ("tensorflow.python", "tensorflow.core", "tensorflow.compiler")  # no part of TensorFlow's documentation
SEARCHES = {"startswith", "endswith", "find", "index", "count", "removeprefix", "removesuffix", "partition"}


def is_own(node):
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_undocumented(name):
    return (name.startswith("_") and not name.endswith("__")) or name in ("src", "__qualname__")


def is_of_inside(module):
    return any(map(is_undocumented, module.split("."))) or module.startswith(INSIDE)


def is_wrong_call(function, arguments, keywords):
    """Returns whether a call sets or reads what is undocumented, or wraps what others made."""
    of = arguments[0] if arguments else ast.Constant("")
    texts = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    match function.removeprefix("object.").removeprefix("functools.").split(".")[-1]:
        case "setattr" | "delattr" | "__setattr__" | "__delattr__":
            # `record` is the dataclass of ours that `rules.check` is given.
            return ast.unparse(of) not in ("self", "record") and not function.startswith("super().")
        case "getattr" | "hasattr":
            return not is_own(of) and any(map(is_undocumented, texts))
        case "attrgetter":
            return any(is_undocumented(part) for text in texts for part in text.split("."))
        case "import_module" | "__import__":
            return any(map(is_of_inside, texts))
        case "wraps" | "update_wrapper":
            return isinstance(arguments[-1], ast.Attribute) or function.endswith("update_wrapper")
        case "filterwarnings":
            return len(arguments) > 1 or "message" in keywords
    return False


def wrong(text):
    """Yields the line and the source of everything that no file but undocumented.py may hold."""
    for node in ast.walk(ast.parse(text)):
        found = False
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found = any(map(is_of_inside, names)) or is_of_inside(".".join(names))
        elif isinstance(node, ast.Attribute):
            is_set = isinstance(node.ctx, (ast.Store, ast.Del))
            found = not is_own(node.value) and (is_undocumented(node.attr) or (is_set and node.attr not in SETTABLE))
            found |= is_set and ast.unparse(node.value) == "cls"
        elif isinstance(node, ast.Subscript):  # `vars(model)["x"] = 1`
            of, is_set = ast.unparse(node.value), isinstance(node.ctx, (ast.Store, ast.Del))
            found = is_set and of not in ("vars(self)", "self.__dict__") and re.search(r"^vars\(|\.__dict__$", of)
        elif isinstance(node, ast.Call):
            found = is_wrong_call(ast.unparse(node.func), node.args, {each.arg for each in node.keywords})
        elif isinstance(node, (ast.FunctionDef, ast.ExceptHandler)):
            yield from matches(node)
        if found:
            yield f"{node.lineno}: {ast.unparse(node)[:100]}"


def matches(scope):
    """Yields the line and the source of each match on the message of an error in a function or an `except`."""
    errors = {scope.name} if isinstance(scope, ast.ExceptHandler) else set()
    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and re.search(r"(Error|Exception)\b", ast.unparse(node.annotation or node)):
            errors.add(node.arg)
    names = "|".join(map(re.escape, errors - {None}))
    told = rf"(str|repr)\(({names})\)|\b({names})\.(message|args|reason)\b|{{({names})}}" if names else "(?!)"
    for node in ast.walk(scope):  # the names that hold a message
        if isinstance(node, (ast.Assign, ast.NamedExpr)) and re.search(told, ast.unparse(node.value)):
            held = node.targets if isinstance(node, ast.Assign) else [node.target]
            told += "".join(rf"|\b{name.id}\b" for name in held if isinstance(name, ast.Name))
    for node in ast.walk(scope):
        found = False
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn, ast.Eq, ast.NotEq)):
            sides = [node.left, node.comparators[0]]
            texts = [side for side in sides if isinstance(side, ast.Constant) or ast.unparse(side).isupper()]
            found = texts and any(re.search(told, ast.unparse(side)) for side in sides if side not in texts)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of, name = ast.unparse(node.func.value), node.func.attr
            if name in SEARCHES:
                found = re.search(told, of)
            elif of == "re":
                found = any(re.search(told, ast.unparse(argument)) for argument in node.args)
        elif isinstance(node, ast.Match):
            found = re.search(told, ast.unparse(node.subject))
        if found:
            yield f"{node.lineno}: {ast.unparse(node)[:100]}"


def inherited(kind):
    """Returns the undocumented names that our part of a class uses and a foreign part of it has."""

    def names(classes):
        return {name for each in classes for name in re.findall(r"\b(?:self|cls|super\(\))\.(_[a-z]\w*)", source(each))}

    foreign = [each for each in kind.__mro__ if each.__module__.split(".")[0] in ("keras", "tensorflow", "keras_tuner")]
    own = [each for each in kind.__mro__ if each not in foreign and each.__module__ != undocumented.__name__]
    return names(own) & names(foreign).union(*map(vars, foreign))


def source(kind):
    return "" if kind.__module__ in ("builtins", "_ctypes") else inspect.getsource(kind)  # these are written in C


def test_no_file_reads_what_is_undocumented_or_assigns_onto_what_others_made():
    found = [f"{path.relative_to(PACKAGE)}:{line}" for path in FILES for line in wrong(path.read_text())]
    assert not found, "\n".join([*found, "Do without, or put it into undocumented.py with its reason and a test."])


@pytest.mark.tensorflow
def test_no_class_uses_what_it_inherits_undocumented():
    found = {}
    for module in pkgutil.walk_packages(keras_inception.__path__, "keras_inception."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and (names := inherited(kind)):
                found[kind] = names
    assert not found


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
        "try: f()\nexcept ValueError as error:\n    text = str(error).lower()\n    x = 'axis' in text",
        "def f(error: Exception): return 'axis' in str(error)",
        "def f(error: ValueError): return AXIS not in error.message",
        "def f(error: tf.errors.OpError | None):\n    text = f'{error}'.strip()\n    return text.endswith('axis')",
        "def f(error: ValueError): return re.sub('axis.*', '', repr(error))",
        "try: f()\nexcept ValueError as error:\n    match str(error):\n        case 'axis': pass",
        "@wraps(model.fit)\ndef f(): pass",
        "@functools.wraps(model.fit)\ndef f(): pass",
        "functools.update_wrapper(model.fit, f)",
        "vars(model)['fit'] = 1",
        "del model.__dict__['fit']",
        "object.__setattr__(model, 'fit', 1)",
        "keras.Model.__setattr__(model, 'fit', 1)",
        "cls.fit = f",
        "setattr(cls, 'fit', f)",
        "x = hasattr(model, '_metrics')",
        "x = operator.attrgetter('layers._metrics')(model)",
        "x = importlib.import_module('keras.src.backend')",
        "x = importlib.import_module('tensorflow.python.eager')",
        "import tensorflow.python.eager.context",
        "from tensorflow.python.eager import context",
        "from tensorflow import python",
        "warnings.filterwarnings('ignore', 'Skipping variable loading')",
        "warnings.filterwarnings('ignore', message='Skipping variable loading')",
    ],
)
def test_the_check_sees_what_it_forbids(line):
    assert list(wrong(line))


@pytest.mark.parametrize(
    "line",
    [
        "self._steps = 1",
        "x = self._steps",
        "layer.trainable = False",
        "x = type(error).__name__",
        "try: f()\nexcept ValueError as error: raise InputError(f'{error}') from error",
        "def f(error: ValueError): return ' '.join(str(error).splitlines()[0].split())[:300]",
        "def f(error: ValueError, text: str): return 'axis' in text",
        "def f(error: OSError): return error.errno in FAILED_WRITES",
        "object.__setattr__(self, 'classes', 2)",
        "super().__setattr__(name, value)",
        "@wraps(function)\ndef f(): pass",
        "x = hasattr(model, 'layers')",
        "vars(self)['classes'] = 2",
        "x = vars(arguments)['plot']",
        "x = importlib.import_module('tensorflow')",
        "warnings.filterwarnings('ignore', category=UserWarning)",
    ],
)
def test_the_check_lets_pass_what_is_ours_or_documented(line):
    assert not list(wrong(line))


def test_the_check_sees_inherited_names():
    class Own(keras.Model):
        def build(self):
            self._mine = self._heads()
            return self._tracker

        def _heads(self):
            pass

    assert inherited(Own) == {"_tracker"}


def test_each_name_has_its_reason_its_version_and_its_test():
    tests = pathlib.Path(__file__).read_text()
    for name, item in inspect.getmembers(undocumented, lambda item: inspect.isfunction(item) or inspect.isclass(item)):
        if item.__module__ != undocumented.__name__:
            continue
        text = inspect.getdoc(item) or ""
        assert "Why:" in text, f"{name} says no reason"
        assert "Since:" in text, f"{name} says no version"
        assert f"undocumented.{name}" in tests, f"{name} has no test"


def test_undocumented_imports_no_library_before_it_is_needed():
    tree = ast.parse(pathlib.Path(undocumented.__file__).read_text())
    imported = [ast.unparse(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert all(line.startswith(("from collections.abc import", "from typing import")) for line in imported), imported


def test_keras_finds_the_direction_of_each_head(three_heads):
    """`undocumented.directions` is of the class in which callbacks look, and its parts say what they look for."""
    model = three_heads()
    model.train_on_batch(np.zeros((2, 5)), np.zeros(2))
    (found,) = (metric for metric in model.metrics if metric.name == "directions")
    callback = keras.callbacks.EarlyStopping("val_aux1_accuracy")
    callback.set_model(model)
    callback._set_monitor_op()
    assert callback.monitor_op is keras.ops.greater
    assert isinstance(found, inspect.getmodule(type(callback).__base__).compile_utils.MetricsList)
    assert found.result() == {}


def test_keras_builds_metrics_by_the_names_that_are_overridden(three_heads):
    names = [name for name in vars(undocumented.BuildsWithoutReading) if name.endswith("_build")]
    assert len(names) == 2
    for name in names if keras.backend.backend() == "tensorflow" else names[:1]:
        assert list(inspect.signature(getattr(keras.Model, name)).parameters) == ["self", "iterator", "data_batch"]
    model = three_heads(7)
    assert not model._compile_metrics.built
    model._symbolic_build(iterator=iter(()))
    assert model._compile_metrics.built
    assert model.optimizer.built


def test_keras_says_of_an_untrained_network_that_it_loads_no_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    model.save(tmp_path / "x.keras")
    with pytest.warns(UserWarning, match="optimizer"):
        keras.saving.load_model(tmp_path / "x.keras")
    with warnings.catch_warnings(record=True) as told:
        undocumented.ignore_missing_optimizers()
        keras.saving.load_model(tmp_path / "x.keras")
    assert not told


@pytest.mark.tensorflow
def test_a_function_that_is_apart_is_one_node_of_the_graphs_that_call_it():
    tf = pytest.importorskip("tensorflow")

    def doubled(x):
        return x + x

    called = undocumented.apart(doubled)
    assert called(tf.constant(2)) == 4
    graph = tf.function(lambda x: tf.cond(x > 0, lambda: called(x), lambda: x)).get_concrete_function(tf.constant(1))
    assert (graph(tf.constant(3)), graph(tf.constant(-3))) == (6, -3)
    library = graph.graph.as_graph_def().library.function
    of_sum = [each for each in library if any(node.op == "AddV2" for node in each.node_def)]
    assert [each.attr["_noinline"].b for each in of_sum] == [True]


@pytest.mark.tensorflow
def test_tensorflow_numbers_groups_of_devices_from_what_a_strategy_says():
    import tensorflow as tf

    from keras_inception.training.distribute import MirroredStrategy

    assert issubclass(MirroredStrategy, undocumented.OwnCollectives)
    kinds = tf.distribute.MirroredStrategy, MirroredStrategy, MirroredStrategy
    plain, first, second = (kind(["CPU:0"]).extended._collective_key_base for kind in kinds)
    assert 0 == plain < first < second


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


@pytest.mark.tensorflow
def test_failures_of_the_system_are_told_from_other_errors_of_tensorflow(tmp_path):
    import tensorflow as tf

    def write():
        with tf.io.gfile.GFile("/dev/full", "w") as file:
            file.write("x" * 100_000)

    missing = str(tmp_path / "a; b.png")
    for fails, number, file in (
        (write, errno.ENOSPC, "/dev/full"),
        (lambda: tf.io.read_file(missing), errno.ENOENT, missing),
        (lambda: tf.function(tf.io.read_file)(missing), errno.ENOENT, missing),
        (lambda: list(tf.data.Dataset.from_tensors(missing).map(tf.io.read_file)), errno.ENOENT, missing),
        (lambda: tf.io.read_file(str(tmp_path)), errno.EISDIR, str(tmp_path)),
    ):
        with pytest.raises(tf.errors.OpError) as caught:
            fails()
        found = undocumented.system_error(caught.value)
        assert (found.errno, found.strerror, found.filename) == (number, os.strerror(number), file)
        assert "{{" not in undocumented.plain_message(caught.value)
        assert "[" not in undocumented.plain_message(caught.value)
    with pytest.raises(tf.errors.OpError) as caught:
        tf.reshape(tf.zeros(3), [2])
    assert undocumented.system_error(caught.value) is None
    assert undocumented.system_error(tf.errors.NotFoundError(None, None, "No registered 'A' OpKernel for CPU")) is None
    assert undocumented.system_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) is None


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


def test_workers_exchange_gradients_in_the_packs_of_their_options(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    alone = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec({}))
    options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=8)

    class Strategy(tf.distribute.MultiWorkerMirroredStrategy):
        def __init__(self):
            tf.distribute.Strategy.__init__(self, undocumented.workers_that_pack(self, alone, options))

    own = type(tf.distribute.MultiWorkerMirroredStrategy(alone).extended)
    monkeypatch.setattr(own, "_replica_ctx_all_reduce", lambda self, op, value, options: options.bytes_per_pack)
    extended = Strategy().extended
    assert extended._replica_ctx_all_reduce("SUM", []) == 8
    given = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=12)
    assert extended._replica_ctx_all_reduce("SUM", [], given) == 12
    assert "_replica_ctx_all_reduce(" in inspect.getsource(tf.distribute.ReplicaContext.all_reduce)
