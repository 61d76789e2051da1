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
        """Return whether a model can run.

        Parameters
        ----------
        model : onnx.ModelProto
            The model.
        device : str
            Where.
        **options
            Nothing that matters here.

        Returns
        -------
        bool
        """
        if not cls.supports_device(device):
            return False
        try:
            Session(model)
        except (ValueError, NotImplementedError):
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> BackendRep:
        """Return a model ready to be run many times.

        Parameters
        ----------
        model : onnx.ModelProto
            The model.
        device : str
            "CPU".
        **options
            Nothing that matters here.

        Returns
        -------
        onnx.backend.base.BackendRep
            Its method `run` takes the inputs, in order or by name, and returns the outputs.

        Raises
        ------
        ValueError
            If the model cannot run, or the device is another one.
        NotImplementedError
            If the model has an operator that neither fastlstm nor `onnx.reference` has.
        """
        if not cls.supports_device(device):
            raise ValueError(f"device must be 'CPU', not {device!r}")
        return _Prepared(Session(model))

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Any, ...]:
        """Return the outputs of a model.

        Parameters
        ----------
        model : onnx.ModelProto
            The model.
        inputs : sequence or mapping of array
            Its inputs, in order or by name.
        device : str
            "CPU".
        **options
            Nothing that matters here.

        Returns
        -------
        tuple of array
        """
        return tuple(cls.prepare(model, device, **options).run(inputs))

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **options: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of one node.

        Parameters
        ----------
        node : onnx.NodeProto
            The node.
        inputs : sequence or mapping of array
            An array for each input that it names, in order or by name.
        device : str
            "CPU".
        outputs_info
            Not needed here.
        **options
            `opset_version`, the version of the operators. Default: that of the package onnx.

        Returns
        -------
        tuple of array
        """
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
        """Return whether models can run on a device.

        Parameters
        ----------
        device : str
            "CPU" is the only one.

        Returns
        -------
        bool
        """
        return device == "CPU"


is_compatible = FastlstmBackend.is_compatible
prepare = FastlstmBackend.prepare
run_model = FastlstmBackend.run_model
run_node = FastlstmBackend.run_node
supports_device = FastlstmBackend.supports_device
