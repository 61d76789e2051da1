"""What the configuration of a Keras layer says: activations, precision, what is known and what is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from fastlstm._arrays.files import FileError
from fastlstm._cells.cell import Activation

ACTIVATIONS: dict[str, Activation] = {"tanh": "tanh", "relu": "relu", "sigmoid": "logistic", "linear": "identity"}
# Both versions call them hard_sigmoid.
HARD_SIGMOIDS: dict[int, Activation] = {2: "hard_logistic", 3: ("hard_logistic", 1 / 6, 0.5)}

_POLICIES = ("DTypePolicy", "FloatDTypePolicy", "Policy")
_PRECISIONS = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")

# What changes no result of a trained layer but by rounding, or is seen in its arrays.
_INDIFFERENT = {
    "name", "trainable", "dtype", "seed", "unroll", "implementation", "use_cudnn", "unit_forget_bias", "return_state",
    "zero_output_for_mask", "batch_input_shape", "batch_shape", "batch_size", "input_length", "input_dtype",
}  # fmt: skip
_INDIFFERENT_ENDS = ("_initializer",)
_TRAINING = {"dropout", "recurrent_dropout"}
_TRAINING_ENDS = ("_regularizer", "_constraint")


# How many layers a warning names.
MOST_SAID = 20


class Refused(ValueError):
    """The error of a layer that no layer of fastlstm is like; the message says which and why."""


@dataclass
class Notes:
    """What is left out of a network, to be said in a warning: which layer, and what of it, in order and once."""

    masks: dict[str, None] = field(default_factory=dict)
    # Layers that are called with masks, which is said where no layer is known to make them.
    called: dict[str, None] = field(default_factory=dict)
    training: dict[str, None] = field(default_factory=dict)
    states: dict[str, None] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    assumed: dict[str, None] = field(default_factory=dict)

    @staticmethod
    def _joined(what: dict[str, None]) -> str:
        shown = list(what)[:MOST_SAID]
        return "; ".join(shown) + (f"; and {len(what) - len(shown)} more" if len(what) > len(shown) else "")

    def messages(self) -> list[str]:
        """Return the warnings."""
        said = (
            (
                self.masks or self.called,
                "there are no masks here, a call is given lengths instead; left out",
            ),
            (self.training, "what acts in training alone is left out"),
            (self.states, "a call begins with zeros or the state that it is given, where Keras goes on from its last"),
            (self.unknown, "layers are left out"),
            (self.assumed, "without config, options of layers are taken to be those that Keras has by itself"),
        )
        return [f"{why}: {self._joined(what)}" for what, why in said if what]


@dataclass(frozen=True)
class Layer:
    """A layer of Keras, as a file describes it, and the notes that it adds to.

    Attributes
    ----------
    path : str
        Its name, after those of the models that it is in: ``"inner/lstm"``.
    kind : str
        The name of its class.
    config : dict
        Its configuration.
    major : int or None
        The version of Keras, where it is known.
    notes : Notes
        What is left out.
    file : str
        The name of the file, if it is from one.
    """

    path: str
    kind: str
    config: dict[str, Any]
    major: int | None
    notes: Notes
    file: str = ""

    @property
    def label(self) -> str:
        """How messages name the layer."""
        return f"layer {self.path!r:.80} ({self.kind:.40})"

    @property
    def _begin(self) -> str:
        return f"{self.file}: " if self.file else ""

    def refused(self, why: str) -> Refused:
        """Return the error that says why no layer here is like it."""
        return Refused(f"{self._begin}{self.label}: {why}")

    def wrong(self, why: str) -> FileError:
        """Return the error of a configuration, or of arrays, that make no sense."""
        return FileError(f"{self._begin}{self.label}: {why}")

    def within(self, part: Any, name: str) -> Layer:
        """Return a layer that is described in the configuration of this one, such as the cell of an RNN."""
        kind, config = checked_entry(self.wrong, part, name)
        if is_own(part):
            raise self.refused(f"{name} is of a class of its author's, {kind!r:.60}")
        return Layer(self.path, kind, config, self.major, self.notes, self.file)

    # ---- values of the configuration ----

    def integer(self, name: str) -> int:
        """Return a size, at least 1."""
        value = self.config.get(name)
        if type(value) is not int or value < 1:
            raise self.wrong(f"{name} must be a size, not {value!r:.40}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a flag."""
        value = self.config.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(f"{name} must be true or false, not {value!r:.40}")
        return value

    def number(self, name: str) -> float:
        """Return a number."""
        value = self.config.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
            raise self.wrong(f"{name} must be a number, not {value!r:.40}")
        return float(value)

    def activation(self, name: str, *, gates: bool = False) -> Activation:
        """Return an activation by the name that it has here."""
        value = activation_name(self, name)
        if value == "hard_sigmoid":
            if self.major is None:
                raise self.refused(
                    f"{name}='hard_sigmoid' is 0.2 a + 0.5 in Keras 2 and a / 6 + 0.5 in Keras 3, and the file does "
                    'not say which wrote it: config must have "keras_version"'
                )
            return HARD_SIGMOIDS[min(max(self.major, 2), 3)]
        if value not in (("sigmoid",) if gates else ACTIVATIONS):
            raise self.refused(f"{name}={value!r:.60} is not here")
        return ACTIVATIONS[value]

    def check(self, *known: str) -> None:
        """Raise Refused for what is not known of the layer; what acts in training alone is noted."""
        check_policy(self)
        for name, value in self.config.items():
            is_off = value is None or (not value and name != "max_value")  # A bound of 0 is one.
            if is_off or name in known or name in _INDIFFERENT or name.endswith(_INDIFFERENT_ENDS):
                continue
            if name == "stateful":
                self.notes.states[self.label] = None
            elif name in _TRAINING or name.endswith(_TRAINING_ENDS):
                shown = f"={value}" if isinstance(value, float) else ""
                self.notes.training[f"{name:.40}{shown} of {self.label}"] = None
            else:
                raise self.refused(f"{name:.40}={value!r:.60} is not known here")


def activation_name(layer: Layer, name: str) -> str:
    """Return the name that Keras gives to an activation."""
    if name not in layer.config:
        raise layer.wrong(f"{name} is not in its configuration")
    value = layer.config[name]
    if isinstance(value, dict) and value.get("class_name") == "function" and not is_own(value):
        value = value.get("config")  # A function that nobody has registered is known by its name.
    if value is None:
        return "linear"
    if not isinstance(value, str):
        raise layer.refused(f"{name} must be one that has a name, not {value!r:.60}")
    return value


def check_policy(layer: Layer) -> None:
    """Raise Refused if the layer's weights are not floats as they are."""
    policy = layer.config.get("dtype", "float32")
    if isinstance(policy, dict):
        kind, own = policy.get("class_name"), policy.get("config")
        if kind not in _POLICIES or not isinstance(own, dict) or is_own(policy):
            raise layer.refused(f"dtype={kind!r:.60}: weights must be floats, not quantised")
        policy = own.get("name")
    if policy not in (*_PRECISIONS, None):
        raise layer.refused(f"dtype={policy!r:.60}: weights must be floats, not quantised")


def is_own(entry: dict[str, Any]) -> bool:
    """Return whether something that a file describes is of a class of its author's, not of Keras's."""
    module, registered, kind = (entry.get(key) for key in ("module", "registered_name", "class_name"))
    ours = module is None or (
        isinstance(module, str) and f"{module}.".startswith(("keras.", "tf_keras.", "tensorflow.", "builtins."))
    )
    return not ours or registered not in (None, kind) or (isinstance(kind, str) and ">" in kind)


def checked_entry(wrong: Any, entry: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Return the class and the configuration of something that a file describes."""
    if not isinstance(entry, dict):
        raise wrong(f"{name} is not described")
    kind, config = entry.get("class_name"), entry.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise wrong(f"{name} is not described by a class and a configuration")
    return kind, config
