"""fastlstm as a backend of ONNX, for `onnx.backend.test` and for programs that take any backend.

The module has the functions of a backend, and `FastlstmBackend` has them as a class: `prepare`, `run_model`,
`run_node`, `is_compatible`, `supports_device`. LSTM, GRU and RNN nodes run on the kernels, all others by
`onnx.reference`: see `fastlstm.onnx.Session`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx.backend.base import Backend, BackendRep

from fastlstm.onnx._session import Session

__all__ = ["FastlstmBackend", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class _Prepared(BackendRep):
    """A model that is ready to run."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Return the outputs from the inputs: an array for each, in order, or by name."""
        names = [one.name for one in self._session.get_inputs()]
        if not isinstance(inputs, Mapping):
            given = list(inputs) if isinstance(inputs, Sequence) else [inputs]
            if len(given) != len(names):
                raise ValueError(f"inputs must be {len(names)}: {', '.join(names)}; not {len(given)}")
            inputs = dict(zip(names, given, strict=True))
        return tuple(self._session.run(None, inputs))


class FastlstmBackend(Backend):
    """The backend."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> bool:
        """Return whether the model can run."""
        if not cls.supports_device(device):
            return False
        try:
            Session(model)
        except (ValueError, NotImplementedError):
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> BackendRep:
        """Return the model, ready to be run many times: its method `run` takes the inputs in order."""
        if not cls.supports_device(device):
            raise ValueError(f"device must be 'CPU', not {device!r}")
        return _Prepared(Session(model))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Any, ...]:
        """Return the outputs of a model."""
        return tuple(cls.prepare(model, device, **options).run(inputs))

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **options: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of one node, from an array for each input that it names, in order, or by name."""
        names = [name for name in node.input if name]
        if not isinstance(inputs, Mapping):
            given = list(inputs) if isinstance(inputs, Sequence) else [inputs]
            if len(given) != len(names):
                raise ValueError(f"inputs must be {len(names)}: {', '.join(names)}; not {len(given)}")
            inputs = dict(zip(names, given, strict=True))
        make = onnx.helper
        graph = make.make_graph(
            [node],
            "node",
            [
                make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(inputs[name].dtype), inputs[name].shape)
                for name in dict.fromkeys(names)
            ],
            [make.make_empty_tensor_value_info(name) for name in node.output if name],
        )
        version = options.get("opset_version", onnx.defs.onnx_opset_version())
        model = make.make_model(graph, opset_imports=[make.make_opsetid(node.domain, version)])
        return cls.run_model(model, inputs, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether models can run there: on the CPU."""
        return device == "CPU"


is_compatible = FastlstmBackend.is_compatible
prepare = FastlstmBackend.prepare
run_model = FastlstmBackend.run_model
run_node = FastlstmBackend.run_node
supports_device = FastlstmBackend.supports_device
