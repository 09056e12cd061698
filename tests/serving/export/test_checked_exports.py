"""`keras-inception check`: a sound version is loaded and asked, and a damaged one is one line."""

import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from encoded_images import encode, photograph

from keras_inception.cli import main
from keras_inception.errors import InputError
from keras_inception.serving.export import check_export, warmup

MODEL, WARMUP = "saved_model.pb", str(warmup.PATH)


@pytest.fixture
def version(exports, tmp_path):
    """A copy of version 1, to be damaged."""
    return shutil.copytree(exports / "1", tmp_path / "animals/1")


def test_the_highest_version_is_loaded_and_answers_each_warm_up_request(exports, capsys, loaded):
    assert main(["check", str(exports)]) == 0
    first, *answers, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{exports}/3: files as written; loaded in ")
    assert [line.split(":")[0] for line in answers] == ["serving_default", "serving_uint8", "features", "serving_bytes"]
    assert all(" ms, then " in line for line in answers)
    assert last == "sound: every warm-up request was answered"
    check = check_export(exports / "1")
    black = np.zeros((1, 16, 16, 3), "float32")
    np.testing.assert_allclose(
        check.answers[0].outputs["probabilities"],
        loaded("serving_default", images=black)["probabilities"],
        rtol=0,
        atol=1e-6,
    )


def changed(content):
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


NOT_LOADED, NOT_READ = "animals/1 cannot be loaded: ", "is missing or damaged: no warm-up requests can be read"


@pytest.mark.parametrize(
    ("file", "damage", "said", "said_without_checksums"),
    [
        (MODEL, lambda content: content[:-5000], "saved_model.pb is damaged", NOT_LOADED),
        (MODEL, lambda content: b"", "saved_model.pb is damaged", NOT_LOADED),
        (MODEL, None, "has no saved_model.pb: an upload that is not whole", "has no saved_model.pb"),
        ("variables/variables.index", None, "variables.index is missing", None),  # it names no variables
        (WARMUP, changed, "requests is damaged", NOT_READ),
        (WARMUP, lambda content: content[:-7], "requests is damaged", NOT_READ),
        (WARMUP, lambda content: b"", "requests is damaged", "holds no warm-up requests"),
        (WARMUP, None, "requests is missing", NOT_READ),
        ("SHA256SUMS", lambda content: b"\xff\n" + content, "SHA256SUMS is damaged", None),
        ("SHA256SUMS", lambda content: content[:-3], "is missing", None),
        ("SHA256SUMS", lambda content: content[:10], "SHA256SUMS is damaged", None),
        ("SHA256SUMS", lambda content: b"", "SHA256SUMS is damaged", None),  # it would vouch for everything
    ],
)
def test_a_damaged_version_is_one_line(version, file, damage, said, said_without_checksums, capsys):
    content = (version / file).read_bytes()
    (version / file).unlink()
    if damage is not None:
        (version / file).write_bytes(damage(content))
    assert said in refused(version, capsys)
    if said_without_checksums is not None:  # as exports of earlier versions of the package are
        (version / "SHA256SUMS").unlink()
        assert said_without_checksums in refused(version, capsys)


def refused(folder, capsys):
    """Returns the one line with which the command refuses a folder."""
    assert main(["check", str(folder)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_changed_weight_is_noticed_by_its_checksum_alone(version):
    content = bytearray((version / MODEL).read_bytes())
    content[len(content) // 2] ^= 1  # among the constants
    (version / MODEL).write_bytes(content)
    with pytest.raises(InputError, match="is damaged: the version is not as it was written"):
        check_export(version)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_the_checksums_are_those_that_a_shell_checks_and_of_all_files(version):
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(command, cwd=version, check=True)
    named = {line.split("  ")[1] for line in (version / "SHA256SUMS").read_text().splitlines()}
    files = {path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()}
    assert named == files - {"SHA256SUMS"}


def test_what_is_no_export_is_refused(tmp_path, capsys):
    assert "has no saved_model.pb" in refused(tmp_path, capsys)
    assert "no folder of that name" in refused(tmp_path / "nowhere", capsys)


def test_a_version_may_be_called_with_zeros_as_a_server_reads_it(version):
    called = version.rename(version.parent / "007")
    assert check_export(version.parent).version == called


def test_a_warm_up_request_with_an_input_that_there_is_not_is_refused(version, capsys):
    (version / "SHA256SUMS").unlink()
    inputs = {"pictures": np.zeros((1, 16, 16, 3), "float32")}
    with tf.io.TFRecordWriter(str(version / WARMUP)) as file:
        file.write(warmup.prediction_log("animals", "serving_default", inputs))
    assert "has the inputs ['images'], and not ['pictures']" in refused(version, capsys)


def test_a_request_is_read_as_it_was_written():
    images = np.arange(200 * 3, dtype="uint8").reshape(1, 10, 20, 3)
    record = warmup.prediction_log("a", "serving_uint8", {"images": images})
    signature, inputs = warmup.request_of(record)
    assert signature == "serving_uint8"
    np.testing.assert_array_equal(inputs["images"], images)
    files = [encode(photograph(), "PNG"), b""]
    assert warmup.request_of(warmup.prediction_log("a", "b", {"image_bytes": files})) == ("b", {"image_bytes": files})
    for damaged in (b"", b"\x80", record[:-1], record[1:], b"\x08\x01", record.replace(b"uint8", b"\x80int8")):
        with pytest.raises(ValueError, match=r"no field of bytes|ends within a number|not enough values|can't decode"):
            warmup.request_of(damaged)
