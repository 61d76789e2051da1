"""A trained network as a C header, for programs without files: its parameters, and functions that run it."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from fastlstm import c_templates as c
from fastlstm._arrays import checks as check
from fastlstm._arrays import whole_files
from fastlstm._arrays.arrays import Array, on_host
from fastlstm._config import get_instruction_sets
from fastlstm.c_layers import CLayer, CNetwork, Part, described

__all__ = ["export_c"]

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# The values that are turned to text at once.
PIECE = 1 << 14


def export_c(
    network: Any,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    fast: bool = False,
    instruction_set: str | None = None,
) -> None:
    """Write a network as a C header: its parameters, and functions that run it.

    The header is C99 and C++, and needs the C library of fastlstm, but no file, no Python and no ``malloc``. The
    numbers in it are those of the network to the last bit. For ``model.h`` it has ``model_plan``, which makes the
    network ready, ``model_step`` for one time step of a stream, ``model_forward`` for a whole sequence, and what they
    need: see :doc:`/c-api`.

    Parameters
    ----------
    network : LSTM, GRU, RNN, Dense or Sequential
        What C has: no FGR, projection or zoneout. A `Sequential` may have an `Embedding`, a `Last` and `Dropout` too,
        which does nothing there, and end in an `Activation`, softmax or one that its last `Dense` may have.
    path : str or path
        The header, whose name usually ends in ``.h``. It is replaced whole or not at all, as by `save`.
    name : str, optional
        What all names in the header begin with. Default: the file's name, without what follows its first point.
    fast : bool
        Whether tanh and the logistic function may be off by 2e-6 and 1e-6, for shorter steps: see `Frozen`.
    instruction_set : str, optional
        The one whose kernels the program has, in the network's precision alone, which makes it smaller: "portable",
        "base", "avx2" or "avx512"; on ARM "portable" or "neon". Default: all that the library has, of which the
        fastest is used.

    Raises
    ------
    TypeError
        If the network is not one of these, or has another layer; or fast networks cannot have a layer of its kind.
    ValueError
        If a layer has an option that C does not have, a parameter is not finite, `name` is no name in C, or there is no
        such instruction set.
    OSError
        If the file cannot be written, or the path is not a regular file.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastlstm
    >>> from fastlstm import nn
    >>> model = nn.Sequential(fastlstm.LSTM(1, 32, seed=0), nn.Dense(32, 1, seed=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.h")
    ...     fastlstm.export_c(model, path)
    ...     with open(path) as file:
    ...         text = file.read()
    >>> "static inline fastlstm_status model_step(const model_network *network" in text
    True
    """
    path = check.path("path", path)
    found = described(network)
    flat = on_host(network.flat).astype(network.dtype, copy=False)
    if not np.isfinite(flat).all():
        raise ValueError("network must have finite parameters: C has no constant for infinity and NaN")
    name = _checked_name(name, path)
    fast = check.flag("fast", fast)
    kinds = {layer.kind for part in (found.body, found.head) if part for layer in part.layers}
    if fast and not kinds <= {"LSTM", "RNN", "DENSE"}:
        raise TypeError(
            f"fast must be False for {network!r}: only an LSTM without layer_norm, an RNN and a Dense are fast"
        )
    if instruction_set is not None and instruction_set not in get_instruction_sets():
        known = ", ".join(get_instruction_sets())
        raise ValueError(f"instruction_set must be one of {known}, or None, not {instruction_set!r}")
    text = _Text(network, found, name, fast, instruction_set)
    whole_files.replace(path, (piece.encode("ascii") for piece in text.pieces(flat)))


def _checked_name(name: object, path: str) -> str:
    """Return the name that names in the header begin with."""
    hint = ""
    if name is None:
        name, hint = Path(path).name.partition(".")[0], ", which the file's name begins with: give another one"
    elif not isinstance(name, str):
        raise TypeError(f"name must be a str, not {type(name).__name__}")
    if not NAME.fullmatch(name) or name.lower().startswith("fastlstm"):
        raise ValueError(
            f"name must be letters, digits and _, beginning with a letter, and not with fastlstm, not {name!r}{hint}"
        )
    return name


class _Text:
    """The text of a header."""

    def __init__(self, network: Any, found: CNetwork, name: str, fast: bool, instruction_set: str | None) -> None:
        self.network, self.found, self.fast, self.instruction_set = network, found, fast, instruction_set
        self.size = network.dtype.itemsize
        self.parts = [part for part in (found.body, found.head) if part]
        self.steps = not found.body.bidirectional
        self.words: dict[str, Any] = {
            "n": name, "N": name.upper(), "real": found.dtype, "precision": f"FLOAT{8 * self.size}",
            "inputs": found.body.inputs, "outputs": found.outputs, "exp": "expf" if self.size == 4 else "exp",
            "math": "#include <math.h>\n" if found.softmax else "",
        }  # fmt: skip

    def filled(self, template: str, **words: object) -> str:
        """Return a part of the header with its words filled in."""
        return Template(template).substitute(self.words | words)

    def pieces(self, flat: Array) -> Iterator[str]:
        """Yield the header, piece by piece; `flat` has the parameters."""
        found = self.found
        yield self._head()
        yield self._sizes()
        yield from self._parameters(flat)
        both = found.head is not None
        head, head_memory = (", *head", self.filled(", head_memory[${N}_HEAD_BYTES]")) if both else ("", "")
        yield self.filled(c.NETWORK, head=head, head_memory=head_memory)
        if self.steps:
            features = self.filled("\n    $real features[${N}_FEATURES];") if both else ""
            yield self.filled(
                c.STREAM, states=self.filled("${N}_STATES") if found.body.states else "1", features=features
            )
        yield self._plan()
        if found.vocabulary:
            yield self.filled(c.EMBEDDING)
        if found.softmax:
            yield self.filled(c.SOFTMAX)
        if self.steps:
            yield self.filled(c.STEP_WITH_HEAD if both else c.STEP, softmax=self._softmax("1"))
        yield self.filled(c.WORKSPACE_WITH_HEAD if both else c.WORKSPACE)
        yield self._forward()
        yield "#endif\n"

    def _head(self) -> str:
        from fastlstm import __version__

        summary = "\n * ".join(textwrap.wrap(f"{self.network!r}", 115, break_long_words=False))
        stream = (
            "\n *   static ${n}_stream stream;\n *   ${n}_plan(&network);\n *   ${n}_step(&network, &stream, x, y);"
        )
        example = stream if self.steps else "\n *   ${n}_plan(&network);"
        only = "" if self.instruction_set is None else self.filled(c.ONLY, isa=self.instruction_set)
        return self.filled(c.HEAD, summary=summary, version=__version__, stream_example=self.filled(example), only=only)

    def _sizes(self) -> str:
        found, N = self.found, self.words["N"]
        step = max(part.step_bytes(self.size) for part in self.parts)
        sizes = {
            "IDS": (found.vocabulary, "of the embedding"),
            "INPUTS": (found.body.inputs, "values of x, of a time step"),
            "FEATURES": (found.body.outputs if found.last else 0, "values of each time step, of which the last go on"),
            "OUTPUTS": (found.outputs, "values of y"),
            "STATES": (found.body.states if self.steps else 0, "values that a stream remembers"),
            "PARAMETERS": (self.network.flat.size, "values"),
            "PLAN_BYTES": (found.body.plan_bytes(self.size), "enough for every instruction set"),
            "HEAD_BYTES": (found.head.plan_bytes(self.size) if found.head else 0, "the same"),
            "STEP_BYTES": (step if self.steps else 0, "the memory of a step"),
        }
        return (
            "".join(f"#define {N}_{key} {value} /* {text} */\n" for key, (value, text) in sizes.items() if value) + "\n"
        )

    def _parameters(self, flat: Array) -> Iterator[str]:
        """Yield the array of the parameters, as decimal numbers that are read back to the same bits."""
        yield self.filled("static const $real ${n}_parameters[${N}_PARAMETERS] = {\n")
        per_line, suffix, start = (8, "f", 0) if self.size == 4 else (4, "", 0)
        for name, array in self.network.params.items():
            yield f"    /* {name} {tuple(array.shape)} */\n".replace(",)", ")")
            for at in range(start, start + array.size, PIECE):
                texts = [f"{text}{suffix}," for text in flat[at : min(at + PIECE, start + array.size)].astype(str)]
                lines = (" ".join(texts[k : k + per_line]) for k in range(0, len(texts), per_line))
                yield "".join(f"    {line}\n" for line in lines)
            start += array.size
        yield "};\n\n"

    def _plan(self) -> str:
        layers = [layer for part in self.parts for layer in part.layers]
        lines = [line for k, layer in enumerate(layers) for line in _fields(k, layer)]
        plans, first = [], 0
        for part, plan, memory in zip(self.parts, ("plan", "head"), ("memory", "head_memory"), strict=False):
            plans.append(self._part(part, plan, memory, first))
            first += len(part.layers)
        words = {
            "layer_count": len(layers),
            "layers": "\n".join(lines),
            "plans": "\n    if (status) return status;\n".join(plans),
            "fast": "\n    description.fast = 1;" if self.fast else "",
        }
        return self.filled(c.PLAN, **words)

    def _part(self, part: Part, plan: str, memory: str, first: int) -> str:
        """Return the lines that make the plan of a part, whose first layer has the number `first`."""
        constants = "".join(
            self.filled(c.CONSTANTS, plan=plan, k=k, place=which.upper(), alpha=alpha, beta=beta)
            for k, layer in enumerate(part.layers)
            for which, (alpha, beta) in layer.constants.items()
        )
        words = {
            "inputs": part.inputs,
            "count": len(part.layers),
            "first": f" + {first}" if first else "",
            "plan": plan,
            "memory": memory,
            "constants": constants,
            "start": f" + {part.start}" if part.start else "",
            "parameters": part.parameters,
        }
        return self.filled(c.PART, **words)

    def _forward(self) -> str:
        found = self.found
        if not found.last:
            return self.filled(c.FORWARD, softmax=self._softmax("T"))
        join = self.filled(c.JOIN, half=found.body.outputs // 2) if found.directions == 2 else ""
        if found.head:
            finish = "status = fastlstm_step(network->head, 1, last, NULL, y, workspace);"
        else:
            finish = self.filled("memcpy(y, last, ${N}_OUTPUTS * sizeof($real));")
        return self.filled(c.FORWARD_TO_LAST, join=join, finish=finish, softmax=self._softmax("1"))

    def _softmax(self, rows: str) -> str:
        """Return the call that ends a network with a softmax."""
        return self.filled("\n    if (!status) ${n}_softmax(y, $rows);", rows=rows) if self.found.softmax else ""


def _fields(k: int, layer: CLayer) -> Iterator[str]:
    """Yield the lines that describe a layer."""
    fields = {"kind": f"FASTLSTM_{layer.kind}", "units": str(layer.units)}
    if layer.directions == 2:
        fields["bidirectional"] = "1"
    for field, value in (fields | layer.fields).items():
        yield f"    layers[{k}].{field} = {value};"
