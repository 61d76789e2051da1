"""Whole models: the nodes LSTM, GRU and RNN on the kernels, all others by `onnx.reference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from fastlstm._arrays.files import DAMAGED, FileError
from fastlstm.onnx._evaluator import evaluator_class, root_of
from fastlstm.onnx._models import Source, open_model
from fastlstm.onnx._order import in_order

__all__ = ["Session", "ValueInfo"]


class ValueInfo(NamedTuple):
    """An input or an output of a model.

    Attributes
    ----------
    name : str
        Its name.
    type : str
        Its type as ONNX Runtime writes it: "tensor(float)".
    shape : list of int, str or None
        The sizes of its axes: a number, a name of a size that is known only in a call, or None. Empty where the model
        says nothing.
    """

    name: str
    type: str
    shape: list[int | str | None]


class Session:
    """A whole ONNX model, run with the LSTM, GRU and RNN nodes on fastlstm's kernels.

    It is for being right, not for speed: the nodes of other operators are run by `onnx.reference`, the standard's own
    implementation in NumPy, whose convolutions take many times as long as ONNX Runtime's. The recurrent nodes are
    computed with all their attributes, in float32 or float64 (float16 and bfloat16 in float32, and rounded), also where
    ONNX Runtime refuses them: ``layout=1``, float64. What the kernels lack, some activations and the clip of a GRU or
    RNN, `fastlstm.reference` computes, in float64 and in no hurry. Weights that are constant are converted in the first
    run, not in each.

    A model is a program: what it computes, and how long that takes, is up to who wrote it. Opening one reads no file
    outside its folder and runs nothing.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        The model. External data is read from files in the folder of the path.

    Raises
    ------
    FileError
        A ValueError: if the file is damaged, or no ONNX model, or its nodes are in a cycle; the message says where.
    NotImplementedError
        If it has an operator that neither fastlstm nor `onnx.reference` has; the message names the node.
    OSError
        If a file cannot be read, or is not a regular file.
    TypeError
        If `model` is none of these.

    Examples
    --------
    >>> import numpy as np, fastlstm, fastlstm.onnx
    >>> network = fastlstm.GRU(3, 8, seed=0)
    >>> session = fastlstm.onnx.Session(fastlstm.onnx.to_onnx(network))
    >>> [one.name for one in session.get_inputs()]
    ['x', 'h0']
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> feeds = {"x": x, "h0": np.zeros((1, 2, 8), np.float32)}
    >>> y, h = session.run(None, feeds)
    >>> bool(np.array_equal(y, network(x)[0]))
    True
    """

    def __init__(self, model: Source) -> None:
        opened = open_model(model)
        self._name = opened.name
        proto = in_order(opened)
        graph, constants = proto.graph, {one.name for one in proto.graph.initializer}
        # Those with a constant of their name need not be given.
        self._inputs = {one.name: one.type for one in graph.input}
        self._required = [name for name in self._inputs if name not in constants]
        self._outputs = {one.name: one.type for one in graph.output}
        try:
            self._evaluator = evaluator_class()(proto)
        except NotImplementedError as error:
            raise NotImplementedError(f"{self._name}: {error}") from error
        except (*DAMAGED, RuntimeError) as error:
            raise FileError(f"{self._name} cannot be run: {error}") from error

    def __repr__(self) -> str:
        return f"Session({', '.join(self._required)} -> {', '.join(self._outputs)})"

    def get_inputs(self) -> list[ValueInfo]:
        """Return the inputs that a run must be given.

        Returns
        -------
        list of ValueInfo
        """
        return [_info(name, self._inputs[name]) for name in self._required]

    def get_outputs(self) -> list[ValueInfo]:
        """Return the outputs.

        Returns
        -------
        list of ValueInfo
        """
        return [_info(name, kind) for name, kind in self._outputs.items()]

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        """Run the model.

        Parameters
        ----------
        names : sequence of str or None
            The outputs that are wanted. None stands for all.
        feeds : mapping of str to array
            The inputs by name, in the dtypes that the model says.

        Returns
        -------
        list of array
            The outputs, in the order of `names`, in memory of their own.

        Raises
        ------
        ValueError
            If an input is missing, or not one, or has another dtype or shape than the model says; if there is no such
            output. What a node raises has the node's name in a note.

        Examples
        --------
        >>> import numpy as np, fastlstm, fastlstm.onnx
        >>> session = fastlstm.onnx.Session(fastlstm.onnx.to_onnx(fastlstm.RNN(3, 8, seed=0), state=False))
        >>> [y] = session.run(["y"], {"x": np.ones((5, 2, 3), np.float32)})
        >>> y.shape
        (5, 2, 8)
        """
        wanted = list(self._outputs) if names is None else list(names)
        for name in wanted:
            if name not in self._outputs:
                raise ValueError(f"names must be of the outputs {', '.join(self._outputs)}, not {name!r}")
        missing = [name for name in self._required if name not in feeds]
        if missing:
            raise ValueError(f"feeds must have {', '.join(self._required)}: {', '.join(missing)} is missing")
        given = {name: self._fed(name, value) for name, value in feeds.items()}
        with np.errstate(all="ignore"):
            outputs: list[Any] = list(self._evaluator.run(wanted, given))
        seen = {*self._evaluator.constants, *(id(root_of(one)) for one in given.values() if _is_array(one))}
        for k, one in enumerate(outputs):
            if _is_array(one):
                if id(root_of(one)) in seen:
                    outputs[k] = one.copy()
                seen.add(id(root_of(one)))
        return outputs

    def _fed(self, name: str, value: Any) -> Any:
        """Return an input once it is known to be what the model says."""
        kind = self._inputs.get(name)
        if kind is None:
            raise ValueError(f"feeds must be of the inputs {', '.join(self._inputs)}, not {name!r}")
        if not kind.HasField("tensor_type") or kind.tensor_type.elem_type == onnx.TensorProto.STRING:
            return value
        array, dtype = np.asarray(value), _dtype(kind.tensor_type.elem_type)
        if array.dtype != dtype:
            raise ValueError(f"input {name!r} must be {dtype}, not {array.dtype}")
        if kind.tensor_type.HasField("shape"):
            shape = _info(name, kind).shape
            if len(shape) != array.ndim or any(
                isinstance(size, int) and size != own for size, own in zip(shape, array.shape, strict=True)
            ):
                told = ", ".join("?" if size is None else str(size) for size in shape)
                raise ValueError(f"input {name!r} must have shape ({told}), not {array.shape}")
        return array


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))


def _info(name: str, kind: onnx.TypeProto) -> ValueInfo:
    tensor = kind.tensor_type
    shape = [one.dim_value if one.HasField("dim_value") else one.dim_param or None for one in tensor.shape.dim]
    return ValueInfo(name, _told(kind), shape)


def _told(kind: onnx.TypeProto) -> str:
    """Return a type as ONNX Runtime writes it."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return f"tensor({onnx.TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()})"
    if which == "sequence_type":
        return f"seq({_told(kind.sequence_type.elem_type)})"
    if which == "optional_type":
        return f"optional({_told(kind.optional_type.elem_type)})"
    return str(which)
