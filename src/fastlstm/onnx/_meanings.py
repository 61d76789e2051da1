"""What nodes do to layers' outputs, by the names of their operators.

A function takes a `Call` and what is known of the node's inputs, and returns the same of its outputs. It raises
InTheWayError, with a reason or none, where no layer does what the node does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastlstm.onnx import _axis_meanings, _layer_meanings, _masks

MEANINGS: dict[str, Callable[..., Any]] = _axis_meanings.MEANINGS | _layer_meanings.MEANINGS | _masks.MEANINGS
