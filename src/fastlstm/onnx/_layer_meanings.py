"""What nodes compute of layers' outputs: each operator that a network of fastlstm has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastlstm._arrays.arrays import Array
from fastlstm.onnx import _chains, _masks, _norms
from fastlstm.onnx._calls import Call, dims_of, floats, integers, signal_of
from fastlstm.onnx._constants import Constant
from fastlstm.onnx._joins import concat, joined
from fastlstm.onnx._signals import as_features, check_plain, is_product
from fastlstm.onnx._values import (
    Atom,
    Axis,
    Dims,
    InTheWayError,
    Signal,
    length,
    role_axis,
    without,
)  # fmt: skip

_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "logistic"}


# ---- layers ----


def _matmul(call: Call, x: Any, W: Any) -> Signal:
    return _dense(signal_of(x), floats(W, "its second factor"))


def _dense(x: Signal, W: Array) -> Signal:
    x = as_features(x)
    if W.ndim != 2 or len(x.axes) < 2:
        raise InTheWayError("it is not the product of features with a matrix")
    features = (Atom(W.shape[1]),)
    return Signal(x.chain.add(_chains.Dense(W.T), features, 1), (*x.axes[:-1], features))


def _gemm(call: Call, x: Any, W: Any, c: Any = None) -> Signal:
    if call.integer("transA", 0):
        raise InTheWayError("it transposes its input")
    factors = _times(floats(W, "its second factor"), call.get("alpha", 1.0))
    y = _dense(signal_of(x), factors.T if call.integer("transB", 0) else factors)
    return y if c is None else _with_bias(y, _times(floats(c, "its third input"), call.get("beta", 1.0)))


def _times(array: Array, factor: Any) -> Array:
    with np.errstate(all="ignore"):
        return array if factor == 1 else array * np.float32(factor)


def _add(call: Call, a: Any, b: Any) -> Any:
    if isinstance(a, Signal) and isinstance(b, Signal):
        return joined([a, b], "sum")
    normal = _norms.added(a, b)
    if normal is not None:
        return normal
    x, c = (a, b) if isinstance(a, Signal) else (b, a)
    if not isinstance(x, Signal) or not is_product(x):
        raise InTheWayError
    return _with_bias(x, floats(c, "what it adds"))


def _with_bias(x: Signal, c: Array) -> Signal:
    item = x.chain.item
    assert isinstance(item, _chains.Dense)
    n = len(item.V)
    if c.ndim > len(x.axes) or (c.size != 1 and (c.size != n or c.shape[-1] != n)):
        raise InTheWayError("what it adds is not one number for each feature")
    assert x.chain.below is not None
    bias = np.broadcast_to(c.reshape(-1), (n,))
    return replace(x, chain=x.chain.below.add(replace(item, c=bias), x.chain.features, 1))


def _activation(call: Call, x: Any) -> Signal:
    own, function = as_features(signal_of(x)), _ACTIVATIONS[call.node.op_type]
    item = own.chain.item
    if isinstance(item, _chains.Dense) and item.activation == "identity":
        assert own.chain.below is not None
        made = replace(item, activation=function)
        return replace(own, chain=own.chain.below.add(made, own.chain.features, 1))
    return _above(own, _chains.Simple("Activation", function))


def _softmax(call: Call, x: Any) -> Signal:
    x = as_features(signal_of(x))
    if call.axis(call.integer("axis", -1 if call.opset >= 13 else 1), len(x.axes)) != len(x.axes) - 1:
        raise InTheWayError("it is not over the features")
    return _above(x, _chains.Simple("Activation", "softmax"))


def _dropout(call: Call, x: Any, ratio: Any = None, *_: Any) -> Any:
    x = signal_of(x)
    rate = floats(ratio, "its ratio").reshape(-1)[0] if ratio is not None else call.get("ratio", 0.5)
    rate = float(str(np.float32(rate))) if not isinstance(rate, np.float64) else float(rate)
    if rate == 0:
        return x
    if not 0 < rate < 1:
        raise InTheWayError(f"its ratio is {rate}")
    return _above(as_features(x), _chains.Simple("Dropout", rate))


def _layer_norm(call: Call, x: Any, g: Any, b: Any = None) -> Signal:
    x = as_features(signal_of(x))
    if call.axis(call.integer("axis", -1), len(x.axes)) != len(x.axes) - 1 or any(call.node.output[1:]):
        raise InTheWayError("it is not over the features alone")
    gain = floats(g, "its gain")
    shift = np.zeros_like(gain) if b is None else floats(b, "its bias")
    if gain.ndim != 1 or shift.shape != gain.shape:
        raise InTheWayError("its gain and bias are not one number for each feature")
    epsilon = float(str(np.float32(call.get("epsilon", 1e-5))))
    return _above(x, _chains.LayerNorm(gain, shift, epsilon))


def _sub(call: Call, a: Any, b: Any) -> Any:
    return _norms.subtracted(a, b) or _masks.subtracted(a, b)


def _mul(call: Call, a: Any, b: Any) -> Any:
    if isinstance(a, Dims) or isinstance(b, Dims):
        return dims_of(a).times(dims_of(b))
    return _norms.multiplied(a, b)


def _equal(call: Call, a: Any, b: Any) -> Any:
    if not (isinstance(a, Dims) or isinstance(b, Dims)):
        return _masks.equal(a, b)
    lengths = [length(entry) if isinstance(entry, tuple) else entry for x in (a, b) for entry in dims_of(x).entries]
    if len(lengths) != 2 or None in lengths:
        raise InTheWayError("it compares lengths that only a call decides")
    truth = np.array(lengths[0] == lengths[1])
    return Constant(lambda: truth)


def _pow(call: Call, a: Any, b: Any) -> Any:
    return _norms.raised(a, b)


def _sqrt(call: Call, x: Any) -> Any:
    return _norms.rooted(x)


def _div(call: Call, a: Any, b: Any) -> Any:
    return _norms.divided(a, b) or _masks.divided(a, b)


def _above(x: Signal, item: _chains.Item) -> Signal:
    return replace(x, chain=x.chain.add(item, x.chain.features))


def _mean(call: Call, x: Any, axes: Any = None) -> Any:
    of = x.of if isinstance(x, _norms.Statistic) else signal_of(x)
    rank = len(of.axes)
    given = call.axes(axes, rank)
    statistic = _norms.reduced(x, given == [rank - 1] and call.integer("keepdims", 1) == 1)
    if statistic is not None:
        return statistic
    x = signal_of(x)
    check_plain(x)
    k = role_axis(x.axes, "time")
    if given is None or given != [k]:
        raise InTheWayError("it is not over the time")
    assert k is not None
    pooling = _chains.Pooling("Mean", None)
    chain = x.chain.add(pooling, x.chain.features, 1)
    return Signal(chain, without(x.axes, k, keep=bool(call.integer("keepdims", 1))))


def _sum(call: Call, x: Any, axes: Any = None) -> Any:
    x = signal_of(x)
    given = call.axes(axes, len(x.axes))
    if given is None or len(given) != 1:
        raise InTheWayError
    return _masks.summed(x, given[0], keep=bool(call.integer("keepdims", 1)))


def _concat(call: Call, *values: Any) -> Any:
    if all(isinstance(value, (Dims, Constant)) for value in values):
        entries: list[int | Axis] = []
        for value in values:
            entries += value.entries if isinstance(value, Dims) else integers(value)
        return Dims(tuple(entries))
    if not all(isinstance(value, Signal) for value in values):
        raise InTheWayError
    return concat(list(values), call.axis(call.integer("axis", 1), len(values[0].axes)))


MEANINGS: dict[str, Callable[..., Any]] = {
    "MatMul": _matmul, "Gemm": _gemm, "Add": _add, "Relu": _activation, "Tanh": _activation, "Sigmoid": _activation,
    "Softmax": _softmax, "Dropout": _dropout, "LayerNormalization": _layer_norm, "ReduceMean": _mean,
    "ReduceSum": _sum, "Concat": _concat, "Sub": _sub, "Mul": _mul, "Pow": _pow, "Sqrt": _sqrt, "Div": _div,
    "Equal": _equal,
}  # fmt: skip
