"""Which precision `auto` means, on which hardware; in float16 losses are scaled, also after the file was loaded."""

import warnings

import keras
import numpy as np
import pytest
from tiny_network import TINY, images_and_labels

import keras_inception as ki

tf = pytest.importorskip("tensorflow")
if keras.backend.backend() != "tensorflow":
    pytest.skip("`precision` looks at TensorFlow's devices", allow_module_level=True)

from keras_inception.training import precision  # noqa: E402, after the skip


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_named_precision_is_taken(name):
    assert precision.resolve(name) == (name, "as configured")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16", ("mixed_bfloat16", "the processor has AVX512_BF16")),
        ("fpu avx512f amx_bf16 amx_tile avx512_bf16", ("mixed_bfloat16", "the processor has AMX_BF16")),
        (
            "fpu avx512f avx512_bf16 avx512_fp16 avx_vnni",
            ("float32", "the processor has AVX512_BF16, which is slower there, and no AMX"),
        ),
        ("fpu avx512f avx512_bf16 avx512_fp16 amx_bf16", ("mixed_bfloat16", "the processor has AMX_BF16")),
        ("fpu avx2 avx512f", ("float32", "the processor is not known to have AVX512_BF16 or AMX")),
    ],
)
def test_auto_looks_at_the_processor(flags, expected, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t:\n")
    found = precision.cpu_flags(cpuinfo)
    monkeypatch.setattr(precision, "cpu_flags", lambda: found)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert precision.resolve("auto") == expected


def test_a_machine_without_cpuinfo_has_no_flags(tmp_path):
    assert precision.cpu_flags(tmp_path / "nothing") == set()


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (9, 0)], "mixed_bfloat16"),
        ([(7, 5)], "float32"),
        ([(8, 0), (7, 0)], "float32"),
    ],
)
def test_auto_looks_at_all_gpus(capabilities, expected, monkeypatch):
    details = {f"GPU:{i}": {"compute_capability": c, "device_name": "A GPU"} for i, c in enumerate(capabilities)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(details))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    name, reason = precision.resolve("auto")
    assert name == expected
    assert "A GPU has" in reason


def fitted_in_float16(path):
    """A tiny network that learned two batches in float16, and what its optimizer holds; saved to a path."""
    model = ki.GoogLeNet(architecture=TINY, input_shape=(10, 10, 3), classes=2, dtype="mixed_float16")
    model.fit(*images_and_labels(16), batch_size=8, verbose=0)
    model.save(path)
    return model, [np.array(variable) for variable in model.optimizer.variables]


def test_a_loaded_network_of_float16_keeps_its_loss_scaling_and_the_state_of_its_optimizer(tmp_path):
    model, state = fitted_in_float16(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Keras's, that it skips the optimizer's variables
        loaded = ki.load_model(tmp_path / "model.keras")
    loaded.save(tmp_path / "again.keras")
    for found in (loaded, ki.load_model(tmp_path / "again.keras")):
        assert isinstance(found.optimizer, keras.optimizers.LossScaleOptimizer)
        assert not isinstance(found.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer)
        assert int(found.optimizer.inner_optimizer.iterations) == 2
        for variable, value in zip(found.optimizer.variables, state, strict=True):
            np.testing.assert_array_equal(variable, value)
    images, labels = images_and_labels(16)
    ours, theirs = (m.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history for m in (model, loaded))
    assert ours.keys() == theirs.keys()


def test_a_file_of_an_earlier_version_which_noted_no_loss_scaling_gets_it_back(tmp_path):
    model, state = fitted_in_float16(tmp_path / "model.keras")
    compilation = model.get_compile_config()
    scaling = compilation["optimizer"]
    compilation["optimizer"] = scaling["config"]["inner_optimizer"]
    model.compile_from_config(compilation)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert len(model.optimizer.variables) == len(state)


def test_a_network_of_float16_that_is_frozen_or_built_on_other_layers_scales_its_loss(tmp_path):
    fitted_in_float16(tmp_path / "model.keras")
    loaded = ki.freeze(ki.load_model(tmp_path / "model.keras"), "conv1_3x3_s1")
    image = keras.Input((10, 10, 3))
    around = ki.InceptionModel(image, loaded(image))
    around.compile("adam", "sparse_categorical_crossentropy")
    for model in (loaded, around):
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    ki.compile_model(loaded, auto_scale_loss=False)
    assert not isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    in_float32 = ki.GoogLeNet(architecture=TINY, input_shape=(10, 10, 3), classes=2)
    assert not isinstance(in_float32.optimizer, keras.optimizers.LossScaleOptimizer)
