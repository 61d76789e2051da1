"""`onnx.reference` with the operators of fastlstm, in all graphs and functions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from fastlstm._arrays.arrays import Array
from fastlstm.onnx._attributes import label
from fastlstm.onnx._operators import GRU, LSTM, RNN
from fastlstm.onnx._quantised import DynamicQuantizeLSTM

__all__ = ["Evaluator", "evaluator_class", "root_of"]


class Identity(OpRun):
    """The operator Identity, without a copy: what is constant stays so."""

    op_domain = ""

    def _run(self, value: Any) -> tuple[Any]:
        return (value,)


OPERATORS: list[type[OpRun]] = [LSTM, GRU, RNN, DynamicQuantizeLSTM, Identity]


class Evaluator(ReferenceEvaluator):
    """A graph or a function of a model. Those of one model are instances of one class: see `evaluator_class`."""

    constants: ClassVar[dict[int, Array]] = {}

    def __init__(self, proto: Any, **options: Any) -> None:
        # In graphs within graphs these operators are given again, in functions not.
        super().__init__(proto, **options | {"new_ops": OPERATORS})

    def _init(self) -> None:
        super()._init()
        for array in [*self.rt_inits_.values(), *(getattr(op, "cst", None) for op in self.rt_nodes_)]:
            if isinstance(array, np.ndarray):
                root = root_of(array)
                array.flags.writeable = root.flags.writeable = False
                self.constants[id(root)] = root
        for op in self.rt_nodes_:
            _tell(op)

    def _load_impl(self, node: onnx.NodeProto, input_types: Any = None) -> Any:
        reason = _wrong_in_reference(node, self.opsets_.get("", onnx.defs.onnx_opset_version()))
        if reason:
            raise NotImplementedError(f"{label(node)}: onnx.reference {reason}")
        try:
            return super()._load_impl(node, input_types)
        except NotImplementedError as error:
            raise NotImplementedError(
                f"{label(node)}: neither fastlstm nor onnx.reference of onnx {onnx.__version__} has this operator"
            ) from error

    @classmethod
    def key_of(cls, arrays: Sequence[Array | None]) -> Any:
        """Return what tells these arrays from others if all of them are constants of the model, or views of some."""
        key: list[Any] = []
        for array in arrays:
            if array is None:
                key.append(None)
                continue
            root = root_of(array)
            if cls.constants.get(id(root)) is not root:
                return None
            key.append((array.ctypes.data, array.shape, array.strides, array.dtype))
        return key


def evaluator_class() -> type[Evaluator]:
    """Return the class for one model, with the constants of all its graphs, by their ids."""
    return type("Evaluator", (Evaluator,), {"constants": {}})


def root_of(array: Array) -> Array:
    """Return the array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _wrong_in_reference(node: onnx.NodeProto, opset: int) -> str | None:
    """Return what `onnx.reference` computes otherwise than the standard says, without a word."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("Softmax", "LogSoftmax", "Hardmax") and opset < 13:
        return "knows it as of opset 13, where it is along one axis alone"
    if node.op_type == "Loop":
        body = next(one.g for one in node.attribute if one.name == "body")
        if len(body.output) > len(node.input) - 1:
            return "joins what it gives in each round, instead of stacking it"
        if not node.input[1]:
            return "does not run it without a condition"
    return None


def _tell(op: OpRun) -> None:
    """Let an operator name its node in errors, and give nothing where its node names no output.

    `onnx.reference` keeps the value of an output without a name for that of an input without one.
    """
    run: Any = op.run
    node = op.onnx_node

    def told(*args: Any, **options: Any) -> tuple[Any, ...]:
        try:
            outputs = run(*args, **options)
        except Exception as error:
            error.add_note(f"in {label(node)}")
            raise
        return tuple(value if name else None for name, value in zip(node.output, outputs, strict=False))

    op.run = told  # type: ignore[method-assign]
