"""Tables of images: what they give is what the folder gives, and what is wrong with one is said in one line."""

import csv
import os
import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow")

from tiny_network import TINY

from keras_inception import data
from keras_inception.data import folder, table
from keras_inception.errors import InputError, MissingPackageError


def write(path, rows, header=("path", "label", "split")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def images(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "files" / name).mkdir(parents=True)
        for index in range(6):
            Image.new("RGB", (12, 10), (40 * index, 9, ord(name))).save(tmp_path / "files" / name / f"{index}.png")
    (tmp_path / "lists").mkdir()
    return tmp_path / "files"


def names_and_labels(found, split):
    return [(name.decode(), int(label)) for name, label in found.examples(split).as_numpy_iterator()]


def test_a_table_gives_the_images_of_the_folder(images):
    rows = [(f"../files/{name}/{index}.png", name) for name in "ba" for index in range(6)]
    rows[0] = (str(images / "b" / "0.png"), "b")
    path = write(images.parent / "lists" / "all.csv", rows, ("path", "label"))
    ours, theirs = (data.load(of, architecture=TINY, batch_size=3, seed=1) for of in (path, images))
    assert (ours.class_names, ours.sizes, ours.original_side) == (["a", "b"], theirs.sizes, 10)
    for split in ("train_from", "test"):
        batches = [of.train_from(0).take(4) if split == "train_from" else of.test for of in (ours, theirs)]
        for found, expected in zip(*batches):
            for tensors in zip(found, expected):
                np.testing.assert_array_equal(*tensors)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_splits_and_numbers_of_a_table_are_taken(ending, images):
    rows = [
        (f"{name}/{i}.png", 10 if name == "a" else 9, ("train", "Val", "test")[i % 3])
        for name in "ab"
        for i in range(6)
    ]
    if ending == "csv":
        path = write(images / "all.csv", rows)
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = dict(zip(("path", "label", "split"), map(list, zip(*rows))))
        parquet.write_table(pyarrow.table({**columns, "weight": [0.5] * 12}), path := images / "all.parquet")
    found = folder.read(path, 0, 0.5, 0.5)
    assert found.class_names == ["9", "10"]
    assert names_and_labels(found, "validation") == [("a/1.png", 1), ("a/4.png", 1), ("b/1.png", 0), ("b/4.png", 0)]
    assert found.sizes == {"train": 4, "validation": 4, "test": 4}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_in_capitals_are_taken(ending, images):
    """A `Split` that was passed over would let the images be split anew, and none would notice."""
    header = ("Path", "LABEL", " Split ")
    rows = [(f"{name}/{i}.png", name, "valid" if i == 5 else "train") for name in "ab" for i in range(6)]
    path = images / f"all.{ending}"
    if ending == "csv":
        write(path, rows, header)
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table([*map(pyarrow.array, zip(*rows))], header), path)
    assert names_and_labels(folder.read(path, 0, 0, 0), "validation") == [("a/5.png", 0), ("b/5.png", 1)]


def test_absolute_paths_are_found_from_a_folder_that_is_a_link(images, tmp_path):
    far = tmp_path / "far" / "away" / "lists"
    far.mkdir(parents=True)
    (tmp_path / "link").symlink_to(far)
    write(far / "all.csv", [(images / name / f"{i}.png", name) for name in "ab" for i in range(6)], ("path", "label"))
    found = folder.read(tmp_path / "link" / "all.csv", 0, 0, 0)
    assert (found.sizes["train"], found.skipped) == (12, [])
    assert folder.root(tmp_path / "link" / "all.csv") == far


def test_a_split_that_lacks_a_class_is_named(images):
    rows = [(f"{name}/{i}.png", name, "val" if name == "a" and i == 5 else "train") for name in "ab" for i in range(6)]
    path = write(images / "all.csv", rows)
    with pytest.raises(InputError, match=r"all\.csv, split validation, without images of \['b'\]"):
        folder.read(path, 0, 0, 0)


def test_a_run_does_not_go_on_with_other_labels_of_a_table(images):
    rows = [(f"{name}/{i}.png", name) for name in "ab" for i in range(6)]
    record = folder.read(write(images / "all.csv", rows, ("path", "label")), 0, 0, 0).record
    assert folder.read(images / "all.csv", 0, 0, 0, record=record).record == record
    write(images / "all.csv", [("a/0.png", "b"), *rows[1:]], ("path", "label"))
    with pytest.raises(InputError, match=r"1 with another content, such as a/0\.png"):
        folder.read(images / "all.csv", 0, 0, 0, record=record)


def test_a_file_that_is_to_be_repaired_may_have_another_content_but_no_other_label(images):
    rows = [(f"{name}/{i}.png", name) for name in "ab" for i in range(6)]
    record = folder.read(write(images / "all.csv", rows, ("path", "label")), 0, 0, 0).record
    shutil.copy(images / "b" / "0.png", images / "a" / "0.png")
    with pytest.raises(InputError, match=r"1 with another content, such as a/0\.png"):
        folder.read(images / "all.csv", 0, 0, 0, record=record)
    repaired = folder.read(images / "all.csv", 0, 0, 0, record=data.repairable(record, {"a/0.png"}))
    assert repaired.record["splits"]["train"]["a/0.png"].startswith(record["splits"]["train"]["b/0.png"][:-1])
    write(images / "all.csv", [("a/0.png", "b"), *rows[1:]], ("path", "label"))
    with pytest.raises(InputError, match=r"1 with another content, such as a/0\.png"):
        folder.read(images / "all.csv", 0, 0, 0, record=data.repairable(record, {"a/0.png"}))


def test_a_file_that_is_to_be_repaired_and_is_gone_can_be_left_out(images):
    rows = [(f"{name}/{i}.png", f"my-{name}") for name in "ab" for i in range(6)]
    record = folder.read(write(images / "all.csv", rows, ("path", "label")), 0, 0, 0).record
    record = data.repairable(data.repairable(record, {"a/0.png"}), {"a/1.png"})
    (images / "a" / "0.png").unlink()
    with pytest.raises(InputError, match=r"Received: .*a/0\.png"):
        folder.read(images / "all.csv", 0, 0, 0, record=record)
    found = folder.read(images / "all.csv", 0, 0, 0, record=record, skip_bad_images=True)
    assert (found.sizes["train"], found.record["skipped"]) == (11, ["a/0.png"])
    assert "*" not in str(found.record)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "without path and label"),
        ("file,label\nx,a\n", "without path, with file, label"),
        ("path;label\nx.png;a\n", "commas between.* without path and label, with path;label"),
        ("path,label\nx.png,a\nx.png,b\n", r"with x\.png twice"),
        ("path,label\nx.png,a\n./x.png,b\n", r"with \./x\.png twice"),
        ("path,label\nx.png,\n", "line 2: no label"),
        ('path,label\n\n"x\n.png",a\ny.png,\n', "line 5: no label"),
        ("path,label\nx.png,a,b\n", "line 2 with 3"),
        ("path,label,split\nx.png,a,dev\ny.png,b,train\n", "with dev"),
        ("path,label\nx.png,a\n", "at least two classes"),
        ("path,label,split\nx.png,a,test\ny.png,b,test\n", "at least two classes"),
        ("path,label\nx.png,a\ny.png,b\n", "x.png: No such file"),
        ("path,label\nx.png,\xe4\n", "in UTF-8"),
        ("path,label,label\nx.png,a,b\ny.png,b,a\n", "one column of each name.* with label more than once"),
        ("path,split,label, split\nx.png,train,a,test\n", "with split more than once"),
        ("Path,label,path\nx.png,a,y.png\n", "with path more than once"),
        ("path,label\n" + "x" * 131_073 + ",a\n", "at most 131,072 characters"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(text, says, tmp_path):
    (tmp_path / "all.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=says) as refused:
        folder.read(tmp_path / "all.csv", 0, 0.1, 0.1)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (("1", "01"), ["01", "1"]), (("9" * 5000, "10"), ["10", "9" * 5000]), (("2", "0010"), ["2", "0010"]),
        (("10.0", "9.0"), ["9.0", "10.0"]), (("-1", "-2"), ["-2", "-1"]), (("1e-05", "-2e5"), ["-2e5", "1e-05"]),
        (("2_1", "10"), ["10", "2_1"]), (("2", "1e9999999999999999999"), ["1e9999999999999999999", "2"]),
    ],
)  # fmt: skip
def test_labels_that_are_numbers_have_one_order(labels, order, images):
    path = write(images / "all.csv", [(f"a/{i}.png", labels[i % 2]) for i in range(6)], ("path", "label"))
    assert folder.read(path, 0, 0, 0).class_names == order


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (b"a", "row 2: a bytes"), (["a"], "row 2: a list"), ({"a": 1}, "row 2: a dict"),
        (None, "row 2: no label"), (float("nan"), "row 2: no label"),
    ],
)  # fmt: skip
def test_labels_of_parquet_are_texts_or_numbers(label, says, tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    first = 1.5 if label is None or isinstance(label, float) else None
    columns = [pyarrow.array(["x.png", "y.png"]), pyarrow.array(["train", "train"]), pyarrow.array([first, label])]
    parquet.write_table(pyarrow.table(columns, ["path", "split", "label"]), tmp_path / "all.parquet")
    with pytest.raises(InputError, match=says):
        table.rows(tmp_path / "all.parquet")
    parquet.write_table(pyarrow.table([columns[0]] * 3, ["path", "label", "label"]), tmp_path / "all.parquet")
    with pytest.raises(InputError, match="with label more than once"):
        table.rows(tmp_path / "all.parquet")
    parquet.write_table(pyarrow.table([columns[0]] * 2, ["filename", "class"]), tmp_path / "all.parquet")
    with pytest.raises(InputError, match="without path and label, with filename, class"):
        table.rows(tmp_path / "all.parquet")


def test_a_pipe_is_no_table(tmp_path):
    os.mkfifo(tmp_path / "all.csv")
    with pytest.raises(InputError, match="not a pipe"):
        data.load(tmp_path / "all.csv")


def test_a_file_that_is_no_table_is_refused_with_what_is(tmp_path):
    (tmp_path / "all.tsv").write_text("path\tlabel\n")
    with pytest.raises(InputError, match=r"a table \(\.csv or \.parquet\)"):
        data.load(tmp_path / "all.tsv")


def test_a_table_that_is_not_there_or_not_parquet_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no table of that name"):
        data.load(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match="must be a Parquet file"):
        table.rows(tmp_path / "bad.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="pip install pyarrow"):
        table.rows(tmp_path / "bad.parquet")
