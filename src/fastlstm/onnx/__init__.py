"""Networks from and to ONNX files, and whole ONNX models on the kernels of fastlstm."""

from importlib.util import find_spec as _find_spec

if _find_spec("onnx") is None:
    raise ModuleNotFoundError("fastlstm.onnx needs onnx: pip install 'fastlstm[onnx]'", name="onnx")

from fastlstm.onnx._attributes import Activation, Attributes
from fastlstm.onnx._export import save, to_onnx
from fastlstm.onnx._load import load
from fastlstm.onnx._nodes import Node, nodes
from fastlstm.onnx._session import Session, ValueInfo

__all__ = ["Activation", "Attributes", "Node", "Session", "ValueInfo", "load", "nodes", "save", "to_onnx"]
