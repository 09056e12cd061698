"""A version of a served model as a server meets it: its files, the C++ loader, the warm-up requests."""

import hashlib
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_inception import files
from keras_inception.errors import InputError
from keras_inception.serving.export import versions, warmup
from keras_inception.serving.export.c_loader import Server
from keras_inception.types import Array, PathLike

# The checksums of a version's files, as `sha256sum --check` reads them.
CHECKSUMS: str = "SHA256SUMS"
MODEL: str = "saved_model.pb"

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class ServedAnswer(NamedTuple):
    """What a version answered to a warm-up request: outputs by name, and the seconds of the first and second time."""

    signature: str
    outputs: dict[str, Array]
    first_seconds: float
    seconds: float


class Check(NamedTuple):
    """A version that is sound: its folder, whether it has checksums, the seconds of its loading, its answers."""

    version: Path
    has_checksums: bool
    load_seconds: float
    answers: list[ServedAnswer]


def write_checksums(version: Path) -> None:
    """Writes the SHA-256 of each file of a version into it."""
    names = sorted(path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file())
    lines = [f"{_digest(version / name)}  {name}\n" for name in names]
    (version / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def check_export(folder: PathLike) -> Check:
    """Loads a version in the C++ loader that TensorFlow Serving uses, and sends it its warm-up requests twice.

    Args:
        folder: The folder of a version, or of versions, of which the highest is taken, as a server does.

    Returns:
        What was found.

    Raises:
        InputError: It is no export, a file is damaged, or it cannot be loaded or does not answer.
    """
    version = _version(files.named(folder, "folder"))
    has_checksums = _check_files(version)
    began = time.perf_counter()
    try:
        server = Server(version)
    except RuntimeError as error:
        raise InputError(f"{version} cannot be loaded: {error}. Export it again.") from error
    load_seconds = time.perf_counter() - began
    try:
        answers = [_asked(server, version, *request) for request in _requests(version)]
    finally:
        server.close()
    return Check(version, has_checksums, load_seconds, answers)


def _version(folder: Path) -> Path:
    version = folder
    if not (folder / MODEL).exists() and (numbers := versions.numbers_in(folder)):
        version = numbers[max(numbers)]
    if not folder.exists():
        raise InputError(f"There is no folder of that name. Received: folder={str(folder)!r}")
    if not (version / MODEL).is_file():
        raise InputError(
            f"`folder` must be a version of a SavedModel, or hold versions, and {version} has no {MODEL}: an "
            "upload that is not whole, or an export for another engine. Received: "
            f"folder={str(folder)!r}"
        )
    return version


def _check_files(version: Path) -> bool:
    """Refuses a version with a file that is not as it was written; returns whether it says how they were written."""
    if not (version / CHECKSUMS).is_file():
        return False  # an export of an earlier version of the package
    lines = (version / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    listed = [match.groups() for line in lines if (match := _LINE.fullmatch(line))]
    if len(listed) < len(lines) or MODEL not in (name for _, name in listed):
        raise InputError(f"{version / CHECKSUMS} is damaged. Copy the folder again, or export it again.")
    for digest, name in listed:
        what = "is missing" if not (version / name).is_file() else "is damaged"
        if what == "is missing" or _digest(version / name) != digest:
            raise InputError(
                f"{version / name} {what}: the version is not as it was written, says {CHECKSUMS}. Copy the folder "
                "again, or export it again."
            )
    return True


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _requests(version: Path) -> list[tuple[str, dict[str, Array]]]:
    """Returns signature and inputs of each warm-up request."""
    path = version / warmup.PATH
    try:
        records = list(tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator())
        requests = [warmup.request_of(record) for record in records]
    except (tf.errors.OpError, ValueError) as error:
        raise InputError(f"{path} is missing or damaged: no warm-up requests can be read. Export again.") from error
    if not requests:
        raise InputError(f"{path} holds no warm-up requests, so nothing can be asked. Export again.")
    return requests


def _asked(server: Server, version: Path, signature: str, inputs: dict[str, Array]) -> ServedAnswer:
    if signature not in server.signatures:
        raise InputError(f"{version} warms up with the signature {signature!r}, which it lacks. Export it again.")
    times = [time.perf_counter()]
    for _ in range(2):
        try:
            outputs = server(signature, **inputs)
        except RuntimeError as error:
            raise InputError(f"{version} does not answer {signature!r}: {error}. Export it again.") from error
        times.append(time.perf_counter())
    numbers = [output for output in outputs.values() if output.dtype.kind == "f"]
    if not all(np.isfinite(output).all() for output in numbers):
        raise InputError(f"{version} answers {signature!r} with NaN or infinite values. Export it again.")
    return ServedAnswer(signature, outputs, times[1] - times[0], times[2] - times[1])
