"""Networks as ONNX models, and in ONNX files."""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

import onnx
from numpy.typing import DTypeLike
from onnx import helper

import fastlstm
from fastlstm import nn
from fastlstm._arrays import checks as check
from fastlstm._arrays import whole_files
from fastlstm.layers.network_layer import NetworkLayer
from fastlstm.onnx._graph import Graph
from fastlstm.onnx._whole_graphs import write_network, write_seq2seq

OPSETS = range(14, 29)
"""The versions of ONNX's operators in which a network can be written."""

End = Literal["softmax", "logistic"]


def to_onnx(
    network: Any,
    *,
    opset: int = 17,
    lengths: bool = False,
    state: bool = True,
    end: End | None = None,
    dtype: DTypeLike | None = None,
) -> onnx.ModelProto:
    """Return what a network computes in inference as an ONNX model, which ONNX's checker has accepted.

    The model has standard operators alone, so that ONNX Runtime and others run it without fastlstm. Its inputs and
    outputs, all of which a call takes and gives:

    ``x``
        (time, batch, features), in a network with `batch_first` (batch, time, features), and where no layer takes
        sequences (batch, features). Instead of it, where an `Embedding` comes first, ``ids`` of int64 without the last
        axis.
    ``lengths``
        (batch,) of int32, if asked for.
    ``target_in``
        Of a `Seq2Seq`, (target_time, batch) of int64: the symbols before those to be predicted.
    ``h0``, ``c0``
        With `state`, the initial state of each recurrent layer, (layers D, batch, H), laid out as in a call of the
        layer. In a network the name begins with the number of the layer, as those of `params` do: ``0.h0``.
    ``y``
        The output.
    ``h``, ``c``
        With `state`, the last states, named like the initial ones: ``0.h``. A row without steps keeps its own.

    Parameters
    ----------
    network : LSTM, GRU, RNN, Dense, Sequential, Seq2Seq, ...
        A layer or a network of fastlstm's own layers, on the host or on a GPU.
    opset : int
        The version of the operators, from 14 to 28. Version 17 has all that is needed, and runtimes since 2022 read it.
    lengths : bool
        Whether the number of steps of each row is an input.
    state : bool
        Whether the states of the recurrent layers are inputs and outputs. Without them, each call begins with zeros. A
        `Seq2Seq` has none.
    end : "softmax" or "logistic", optional
        What is done to the network's output in the model, where a loss had it in training. Default: nothing.
    dtype : float32 or float64, optional
        The kind of the model's numbers. Default: that of the network. ONNX Runtime has recurrent layers in float32
        alone.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    TypeError
        If the network is not made of fastlstm's own layers alone, or is `Frozen`.
    ValueError
        If ONNX cannot say what a layer does: a projection, layer normalisation inside an LSTM, `cell_clip`, zoneout,
        variant FGR. If the installed onnx does not know the opset, no layer takes `lengths`, or the parameters have
        more than the 2 GB that a model can have.

    Notes
    -----
    Dropout of layers' outputs is written as nodes that do nothing in inference, for those who read the network. What
    else training alone needs is left out: other rates of recurrent layers, and which parameters are frozen; so is
    `batch_invariant`.

    An ONNX file has options such as `clip` in float32.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> from fastlstm import nn
    >>> network = nn.Sequential(fastlstm.LSTM(3, 8, seed=0), nn.Last(), nn.Dense(8, 2, seed=1), batch_first=True)
    >>> model = fastlstm.onnx.to_onnx(network, state=False, end="softmax")
    >>> [node.op_type for node in model.graph.node]
    ['Transpose', 'LSTM', 'Squeeze', 'Gather', 'MatMul', 'Add', 'Softmax']
    >>> model = fastlstm.onnx.to_onnx(network, lengths=True)
    >>> [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    (['x', 'lengths', '0.h0', '0.c0'], ['y', '0.h', '0.c'])
    """
    if type(network) is not nn.Seq2Seq and not isinstance(network, NetworkLayer):
        hint = ": give the network that it was made of" if isinstance(network, fastlstm.Frozen) else ""
        if isinstance(network, nn.Decoder):
            hint = ": give the Seq2Seq that it is part of"
        raise TypeError(f"network must be a layer or a network of layers, not {type(network).__name__}{hint}")
    own = network.dtype
    graph = Graph(
        _checked_opset(opset), own if dtype is None else check.float_dtype(dtype), state=check.flag("state", state)
    )
    if end is not None and end not in get_args(End):
        raise ValueError(f"end must be one of {', '.join(get_args(End))}, or None, not {end!r}")
    if isinstance(network, nn.Seq2Seq):
        write_seq2seq(graph, network, check.flag("lengths", lengths), end)
    else:
        write_network(graph, network, check.flag("lengths", lengths), end)
    about = f"{network!r}, written by fastlstm {fastlstm.__version__}"
    ids = [helper.make_opsetid("", graph.opset)]
    model = helper.make_model(
        graph.made(type(network).__name__, about),
        opset_imports=ids,
        ir_version=helper.find_min_ir_version_for(ids),
        producer_name="fastlstm",
        producer_version=fastlstm.__version__,
        doc_string=about,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def save(network: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a network to an ONNX file, which is replaced as a whole or not at all.

    Parameters
    ----------
    network : LSTM, GRU, RNN, Dense, Sequential, ...
        As for `to_onnx`.
    path : str or path
        The file, whose name usually ends in ``.onnx``.
    **options
        Those of `to_onnx`.

    Raises
    ------
    TypeError, ValueError
        As `to_onnx`; then nothing is written. If `path` is not a path.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastlstm, fastlstm.onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.onnx")
    ...     fastlstm.onnx.save(fastlstm.GRU(3, 8, seed=0), path, state=False)
    ...     os.path.getsize(path) > 1000
    True
    """
    name = check.path("path", path)
    whole_files.replace(name, [to_onnx(network, **options).SerializeToString(deterministic=True)])


def _checked_opset(opset: object) -> int:
    number, newest = check.integer("opset", opset), onnx.defs.onnx_opset_version()
    if number not in OPSETS:
        raise ValueError(f"opset must be from {OPSETS[0]} to {OPSETS[-1]}, not {number}")
    if number > newest:
        raise ValueError(f"opset must be at most {newest} with onnx {onnx.__version__}, not {number}")
    return number
