"""Which precision `auto` means, on which hardware."""

import keras
import pytest

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
