"""The precision that a network computes in."""

import re
from pathlib import Path

import tensorflow as tf

AMPERE: tuple[int, int] = (8, 0)  # the first compute capability with bfloat16


def resolve(name: str) -> tuple[str, str]:
    """Returns the dtype policy that a precision stands for on this machine, and why.

    Args:
        name: "float32", "mixed_bfloat16", "mixed_float16", or "auto": bfloat16 where all GPUs (or, without one, the
            processor) compute faster in it, float32 elsewhere.

    Returns:
        The name of a Keras dtype policy, and a few words.
    """
    if name != "auto":
        return name, "as configured"
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        found = all(detail.get("compute_capability", (0, 0)) >= AMPERE for detail in details)
        device = details[0].get("device_name", "GPU")
        return ("mixed_bfloat16", f"{device} has bfloat16") if found else ("float32", f"{device} has no bfloat16")
    flags = cpu_flags()
    if "amx_bf16" in flags:
        return "mixed_bfloat16", "the processor has AMX_BF16"
    if {"avx512_bf16", "avx512_fp16"} <= flags:  # Intel's since Sapphire Rapids, on a machine that hides AMX
        return "float32", "the processor has AVX512_BF16, which is slower there, and no AMX"
    if "avx512_bf16" in flags:
        return "mixed_bfloat16", "the processor has AVX512_BF16"
    return "float32", "the processor is not known to have AVX512_BF16 or AMX"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Returns what the processor can do, as Linux names it; elsewhere nothing."""
    try:
        found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()
