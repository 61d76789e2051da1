"""What is read of HDF5 is what h5py reads of it."""

import io
from pathlib import Path

import numpy as np
import pytest

from fastlstm.keras._hdf5 import Tree

h5py = pytest.importorskip("h5py")
FOLDER = Path(__file__).parents[1] / "data_keras_2"


def both(content):
    """Compare all groups, arrays and texts of a file, and return the paths of its arrays."""
    tree = Tree(io.BytesIO(content), len(content), "the file")
    with h5py.File(io.BytesIO(content), "r") as file:
        groups, arrays = {"": file}, {}
        file.visititems(
            lambda name, found: (arrays if isinstance(found, h5py.Dataset) else groups).update({name: found})
        )
        assert tree.groups.keys() == groups.keys()
        assert tree.arrays.keys() == arrays.keys()
        for name, array in arrays.items():
            found, expected = tree.read(name), array[()]
            assert (found.dtype, found.shape) == (expected.dtype.newbyteorder("="), expected.shape)
            np.testing.assert_array_equal(found, expected)
        for name, group in groups.items():
            assert tree.names[name] == list(group)
            for key, value in group.attrs.items():
                if isinstance(value, (str, bytes)):
                    assert tree.text(name, key) == (value if isinstance(value, str) else value.decode())
            assert tree.text(name, "none") is None
    return list(arrays)


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.h5")))
def test_files_of_keras(name):
    assert len(both((FOLDER / name).read_bytes())) >= 7


def test_kinds_of_numbers():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for k, kind in enumerate(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", "<i4", ">i8", "u1", "<u2", ">u8"]):
            file[f"group/{k}"] = np.arange(-3, 3).astype(kind).reshape(2, 3)
        file["scalar"], file["nothing"] = 3.5, np.zeros((0, 4), "<f4")
        file.create_dataset("compact", data=np.arange(5.0), dcpl=compact())
    assert len(both(buffer.getvalue())) == 15


def compact():
    """Return the property of an array that is kept in its header."""
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_layout(h5py.h5d.COMPACT)
    return made


def test_many_members():
    """So many that a group's tree has levels, and names of every length."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for k in range(3000):
            file[f"a/{'x' * (k % 40)}{k}"] = np.float32(k)
    assert len(both(buffer.getvalue())) == 3000


def test_texts():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        texts = {"short": "a", "empty": "", "long": "\u00e9" * 30_000, "numpy": np.bytes_(b"fixed"), "bytes": b"old"}
        for name, text in texts.items():
            file.attrs[name] = text
        file.attrs["number"], file.attrs["list"] = 3, ["a", "b"]
        for k in range(200):
            file.attrs[f"text {k}"] = f"{k}" * k  # In continuations of the header, and in several heaps.
    both(buffer.getvalue())


def test_bfloat16():
    """The upper half of a float32, which NumPy lacks; Keras says so beside it."""
    buffer = io.BytesIO()
    values = np.array([1.5, -2.0, 0.0, np.inf], np.float32)
    with h5py.File(buffer, "w") as file:
        file["x"] = (values.view(np.uint32) >> 16).astype("<u2").view("V2")
        file["x"].attrs["dtype"] = "bfloat16"
    content = buffer.getvalue()
    np.testing.assert_array_equal(Tree(io.BytesIO(content), len(content), "f").read("x"), values)
