"""A stand-in for OpenVINO where it is not installed: what the benchmark calls of it, computed by ONNX Runtime.

It takes and refuses what OpenVINO does: a request with several outputs has no "output tensor", a model that was made
stateful has neither inputs nor outputs for its states.
"""

import importlib.util
import sys
import types

import numpy as np
import onnx
import onnxruntime

CAPABILITIES = ["FP32", "BF16"]
COMPILED = []  # the options of every compiled model


class Tensor:
    def __init__(self, array):
        self.data = np.array(array)


class Model:
    def __init__(self, proto):
        self.proto, self.states = onnx.ModelProto.FromString(proto), {}

    @property
    def outputs(self):
        return [value.name for value in self.proto.graph.output if value.name not in self.states.values()]


class MakeStateful:
    def __init__(self, states):
        self.states = states


class Manager:
    def __init__(self):
        self.passes = []

    def register_pass(self, one):
        self.passes.append(one)

    def run_passes(self, model):
        for one in self.passes:
            given = {value.name for value in model.proto.graph.input}
            computed = {value.name for value in model.proto.graph.output}
            assert one.states.keys() <= given
            assert set(one.states.values()) <= computed
            model.states.update(one.states)


class InferRequest:
    def __init__(self, model, hints):
        proto = onnx.ModelProto.FromString(model.proto.SerializeToString())
        if hints["INFERENCE_PRECISION_HINT"] == "bf16":
            for constant in proto.graph.initializer:
                bits = onnx.numpy_helper.to_array(constant).view(np.uint32) + np.uint32(0x8000)
                rounded = (bits & np.uint32(0xFFFF0000)).view(np.float32)
                constant.CopyFrom(onnx.numpy_helper.from_array(rounded, constant.name))
        self.session = onnxruntime.InferenceSession(proto.SerializeToString())
        self.model, self.given = model, {}
        self.reset_state()

    def reset_state(self):
        shapes = {value.name: value.shape for value in self.session.get_inputs()}
        self.state = {name: np.zeros(shapes[name], np.float32) for name in self.model.states}

    def set_input_tensor(self, tensor):
        assert isinstance(tensor, Tensor)
        self.given = {"X": tensor.data}

    def infer(self, *, share_outputs=False):
        names = [value.name for value in self.session.get_outputs()]
        found = dict(zip(names, self.session.run(names, self.given | self.state), strict=True))
        self.state = {name: found[after] for name, after in self.model.states.items()}
        self.found = found

    def get_output_tensor(self):
        (name,) = self.model.outputs
        return Tensor(self.found[name])


class CompiledModel:
    def __init__(self, model, hints):
        self.create_infer_request = lambda: InferRequest(model, hints)


class Core:
    def get_property(self, device, name):
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return CAPABILITIES

    def read_model(self, proto):
        return Model(proto)

    def compile_model(self, model, device, hints):
        assert device == "CPU"
        COMPILED.append(hints)
        return CompiledModel(model, hints)


def put(monkeypatch):
    """Put this in the place of OpenVINO."""
    here = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "openvino", here)
    monkeypatch.setitem(
        sys.modules, "openvino.passes", types.SimpleNamespace(Manager=Manager, MakeStateful=MakeStateful)
    )


def put_if_missing(monkeypatch):
    """Put this in the place of OpenVINO where that is not installed."""
    if importlib.util.find_spec("openvino") is None:
        put(monkeypatch)
