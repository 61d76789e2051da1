"""What files with weights alone show of their layers, as a configuration: classes, sizes, Keras's own options."""

from __future__ import annotations

import re
from typing import Any

from fastlstm.keras._files import CONTAINERS, KerasFile
from fastlstm.keras._hdf5 import Tree
from fastlstm.keras._weights import role_of

# The groups of the newer format in which there are layers, and their classes.
_CLASSES = {
    "lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN", "rnn": "RNN", "bidirectional": "Bidirectional",
    "dense": "Dense", "embedding": "Embedding", "layer_normalization": "LayerNormalization",
    "time_distributed": "TimeDistributed",
}  # fmt: skip
# Layers without arrays, which the newer format lists too.
_WITHOUT = {"masking": "Masking", "dropout": "Dropout", "input_layer": "InputLayer", "re_lu": "ReLU"}
_BY_BLOCKS = {4: "LSTM", 3: "GRU", 1: "SimpleRNN"}

Shape = tuple[int, ...]


def guessed(file: KerasFile) -> dict[str, Any]:
    """Return the configuration of a model with the layers of a file, in no order of calls."""
    if file.root is not None:
        return _model(None, [_older(file.tree, file.root, name) for name in file.tree.names.get(file.root, ())])
    container = next(name for name in CONTAINERS if name in file.tree.groups)
    return _newer(file.tree, "", container)


def _model(name: str | None, layers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": layers}}


def _newer(tree: Tree, group: str, container: str) -> dict[str, Any]:
    """Return the configuration of a model whose layers are in a container within this group."""
    inside = f"{group}/{container}" if group else container
    layers = []
    for name in sorted(tree.names.get(inside, ()), key=_number):
        own = f"{inside}/{name}"
        said = tree.text(f"{own}/vars", "name") if f"{own}/vars" in tree.groups else None
        if f"{own}/{container}" in tree.groups:
            entry = _newer(tree, own, container)
            kind = re.sub(r"_\d+$", "", name)
            entry["class_name"] = {"sequential": "Sequential", "model": "Model"}.get(kind, "Functional")
        else:
            shapes = {path.removeprefix(f"{own}/"): tree.arrays[path].shape for path in tree.below(own)}
            entry = _layer(re.sub(r"_\d+$", "", name), shapes)
        entry["config"]["name"] = said or name
        layers.append(entry)
    return _model(None, layers)


def _number(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", name, re.DOTALL)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _layer(group: str, shapes: dict[str, Shape]) -> dict[str, Any]:
    """Return the configuration of a layer of the newer format from its group's name, and the shapes of its arrays."""
    kind = _CLASSES.get(group)
    if kind is None or any("/vars/" not in f"/{path}" for path in shapes):
        return {"class_name": _WITHOUT.get(group, group), "config": {"rate": 0.0}}
    by_part: dict[str, list[Shape]] = {}
    for path, shape in sorted(shapes.items()):
        by_part.setdefault(f"/{path}".rpartition("/vars/")[0].strip("/"), []).append(shape)
    if kind == "Bidirectional":
        given = by_part.get("forward_layer/cell", [])
        return {"class_name": kind, "config": {"layer": _cell(given, "", {"return_sequences": True})}}
    if kind == "RNN":
        return {"class_name": kind, "config": {"return_sequences": True, "cell": _cells(by_part)}}
    if kind == "TimeDistributed":
        return {"class_name": kind, "config": {"layer": _plain("Dense", by_part.get("layer", []))}}
    if kind in _BY_BLOCKS.values():
        return _cell(by_part.get("cell", []), "", {"return_sequences": True}, kind)
    entry = _plain(kind, by_part.get("", []))
    return entry if entry["class_name"] == kind else entry | {"class_name": group}  # By which its group is found.


def _cells(by_part: dict[str, list[Shape]]) -> dict[str, Any]:
    """Return the configuration of the cell of an RNN, or of its cells."""
    if "cell" in by_part:
        return _cell(by_part["cell"], "Cell", {})
    names = sorted((name for name in by_part if name.startswith("cell/cells/")), key=_number)
    if len({_number(name)[0] for name in names}) > 1:  # Which comes first cannot be told.
        return {"class_name": "StackedRNNCells of several classes", "config": {}}
    return {"class_name": "StackedRNNCells", "config": {"cells": [_cell(by_part[name], "Cell", {}) for name in names]}}


def _cell(shapes: list[Shape], suffix: str, more: dict[str, Any], kind: str | None = None) -> dict[str, Any]:
    """Return the configuration of a recurrent layer, or a cell, with arrays of these shapes in Keras's order."""
    units, columns = shapes[1] if len(shapes) > 1 and len(shapes[1]) == 2 else (0, 0)
    blocks = columns // units if units and columns % units == 0 else 0
    kind = kind or _BY_BLOCKS.get(blocks, f"cell with {blocks} blocks")
    config: dict[str, Any] = {"units": units, "activation": "tanh", "use_bias": len(shapes) > 2} | more
    if kind != "SimpleRNN":
        config["recurrent_activation"] = "sigmoid"
    if kind == "GRU":
        config["reset_after"] = len(shapes) < 3 or len(shapes[2]) == 2
    return {"class_name": f"{kind}{suffix}", "config": config}


def _plain(kind: str, shapes: list[Shape]) -> dict[str, Any]:
    """Return the configuration of a layer without a state."""
    first: Shape = shapes[0] if shapes else ()
    config: dict[str, Any]
    if kind == "LayerNormalization":
        config = {"axis": -1, "epsilon": 0.001}
    elif len(first) != 2:
        return {"class_name": f"{kind} with an array of {len(first)} axes", "config": {}}
    elif kind == "Embedding":
        config = {"input_dim": first[0], "output_dim": first[1]}
    else:
        config = {"units": first[1], "activation": "linear", "use_bias": len(shapes) > 1}
    return {"class_name": kind, "config": config}


def _older(tree: Tree, root: str, name: str) -> dict[str, Any]:
    """Return the configuration of a layer of the older format, of whose class only its arrays' names tell."""
    group = f"{root}/{name}" if root else name
    found = [(path.removeprefix(f"{group}/").split("/"), tree.arrays[path].shape) for path in tree.below(group)]
    roles = {role_of(parts[-1]): shape for parts, shape in found}
    one = len(roles) == len(found)
    both = [parts for parts, _ in found if any(part.startswith("backward_") for part in parts)]
    shapes = [roles[role] for role in ("kernel", "recurrent_kernel", "bias") if role in roles]
    names = roles.keys() - {"bias"}
    if names == {"kernel", "recurrent_kernel"} and (one or (both and len(found) == 2 * len(roles))):
        entry = _cell(shapes, "", {"return_sequences": True})
        if both:
            part = next(part for part in both[0] if part.startswith("backward_"))
            entry["config"]["name"] = part.removeprefix("backward_")
            entry = {"class_name": "Bidirectional", "config": {"layer": entry}}
    elif names == {"kernel"} and one:
        entry = _plain("Dense", shapes)
    elif names == {"embeddings"} and one and "bias" not in roles:
        entry = _plain("Embedding", [roles["embeddings"]])
    else:
        entry = {"class_name": f"layer with {', '.join(sorted(roles))[:60] or 'no arrays'}", "config": {}}
    entry["config"]["name"] = name
    return entry
