"""The Python code in the README and in the pages of the site."""

import doctest
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The packages that a page needs beside those that training needs.
NEEDED = {"onnx.md": ["onnx", "onnxruntime"], "pytorch.md": ["safetensors", "torch"]}
NEEDED["guides/keras.md"] = ["torch", "keras"]
os.environ.setdefault("KERAS_BACKEND", "torch")  # Keras reads it when it is imported.


def run_page(path):
    """Run a page block by block, as a reader would, and return the names; what follows a prompt must come out."""
    for package in (
        "matplotlib",
        "tqdm",
        *NEEDED.get(path.name, []),
        *NEEDED.get(f"{path.parent.name}/{path.name}", []),
    ):
        pytest.importorskip(package)
    names, text = {}, path.read_text("utf-8")
    for block in BLOCK.finditer(text):
        code, line = block[1], text[: block.start(1)].count("\n")
        if code.startswith(">>> "):
            test = doctest.DocTestParser().get_doctest(code, names, path.name, str(path), line)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
            names.update(test.globs)
        else:
            exec(compile("\n" * line + code, str(path), "exec"), names)
    return names
