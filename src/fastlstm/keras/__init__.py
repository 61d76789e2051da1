"""Networks and layers from files that Keras wrote, without Keras, and arrays for it.

`load` gives a network, as `fastlstm.load` does; `layers` and `weights` what their names say, for models of any shape.
`from_keras` and `to_keras` are the way of a single layer in memory, there and back: the first takes what
`serialize_keras_object` and `get_weights` return, the second gives what `set_weights` takes.
"""

from fastlstm.keras._conversion import from_keras, to_keras
from fastlstm.keras._loading import layers, load, weights

__all__ = ["from_keras", "layers", "load", "to_keras", "weights"]
