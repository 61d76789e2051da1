"""The layers of a model as its configuration lists them, with the place of their arrays, and in the order of calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator
from typing import Any, NamedTuple

from fastlstm._arrays.files import FileError
from fastlstm.keras._files import CONTAINERS, KerasFile
from fastlstm.keras._hdf5 import Tree
from fastlstm.keras._options import Layer, Notes, Refused, checked_entry, is_own

# Models within models.
MOST_DEPTH = 16
# Steps of what computes masks.
_OF_MASKS = ("NotEqual", "Any")
MODELS = ("Sequential", "Functional", "Model")


class Place(NamedTuple):
    """Where the arrays of a layer are.

    Attributes
    ----------
    group : str or None
        The group that they are in, and in it those of other layers too where `names` has something; None if the file
        has no group for the layer.
    names : tuple of str
        The names of the layer and of the models that it is in, one of which a path in the group goes through.
    """

    group: str | None
    names: tuple[str, ...] = ()


class Leaf(NamedTuple):
    """A layer that is not a model itself."""

    layer: Layer
    name: str
    place: Place
    # Whether its class is its author's.
    own: bool
    # How many axes its input has, if the file says so.
    axes: int | None
    calls: list[Any]


class Model(NamedTuple):
    """A model: its layers, in the order of its configuration."""

    path: str
    name: str
    kind: str
    config: dict[str, Any]
    members: list[Leaf | Model]
    calls: list[Any]


def model_of(file: KerasFile, config: dict[str, Any], notes: Notes) -> Model:
    """Return the model of a file that a configuration describes."""
    if not is_model(config):
        kind, _ = checked_entry(_wrong(file, "the model"), config, "the model")
        raise Refused(f"{file.name}: the model must be a Sequential or a Functional one, not {kind!r:.60}")
    if file.root is None:
        container = next((name for name in CONTAINERS if name in file.tree.groups), CONTAINERS[0])
        return _Reader(file, notes, container).model(config, "", Place(""), 0)
    return _Reader(file, notes, None).model(config, "", Place(file.root), 0)


def is_model(entry: Any) -> bool:
    """Return whether what a file describes is a model of a kind that is known."""
    return isinstance(entry, dict) and entry.get("class_name") in MODELS and not is_own(entry)


def leaves(model: Model) -> Iterator[Leaf]:
    """Yield all layers of a model and of the models in it."""
    for member in model.members:
        if isinstance(member, Leaf):
            yield member
        else:
            yield from leaves(member)


def chain(model: Model, file: str, notes: Notes) -> Iterator[Leaf]:
    """Yield the layers of a model in the order in which each is called with what the one before it gives.

    Raises
    ------
    Refused
        If it is not such a chain.
    """
    members = model.members if model.kind == "Sequential" else _called(model, file, notes)
    for member in members:
        if isinstance(member, Leaf):
            yield member
        else:
            yield from chain(member, file, notes)


# ---- what a configuration lists ----


class _Reader:
    """The layers of a file's configuration; `container` is the name of groups of layers, None in the older format."""

    def __init__(self, file: KerasFile, notes: Notes, container: str | None) -> None:
        self.file, self.notes, self.container = file, notes, container

    def model(self, entry: dict[str, Any], path: str, place: Place, depth: int) -> Model:
        """Return a model; `path` is what its layers' names come after."""
        wrong = _wrong(self.file, "the model")
        if depth > MOST_DEPTH:
            raise wrong(f"there are more than {MOST_DEPTH} models in each other")
        config = entry.get("config")
        config = {"layers": config} if isinstance(config, list) else config  # As the first versions have it.
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
            raise wrong("it has no layers")
        name = _name(entry, config, wrong) if depth else ""
        entries = [item for item in config["layers"] if not _is_operation(item)]
        for item in entries:
            checked_entry(wrong, item, "a layer")
        places = self._places(entries, place)
        members: list[Leaf | Model] = []
        for item, own in zip(entries, places, strict=True):
            members.append(self._member(item, path, own, depth))
        if len({member.name for member in members}) < len(members):
            raise wrong("two layers have the same name")
        calls = entry.get("inbound_nodes")
        return Model(path, name, entry["class_name"], config, members, calls if isinstance(calls, list) else [])

    def _member(self, entry: dict[str, Any], path: str, place: Place, depth: int) -> Leaf | Model:
        wrong = _wrong(self.file, "the model")
        name = _name(entry, entry["config"], wrong)
        where = f"{path}/{name}" if path else name
        if is_model(entry):
            return self.model(entry, where, place, depth + 1)
        if self.container is None and place.group is not None and place.group not in self.file.tree.groups:
            place = Place(None)
        layer = Layer(where, entry["class_name"], entry["config"], self.file.major, self.notes, self.file.name)
        calls = entry.get("inbound_nodes")
        if self.container is not None and place.group is not None:
            self._check_name(place.group, name, layer)
        return Leaf(layer, name, place, is_own(entry), axes_of(entry), calls if isinstance(calls, list) else [])

    def _check_name(self, group: str, name: str, layer: Layer) -> None:
        """Raise FileError if a file says that the arrays are another layer's; not all versions say whose they are."""
        inner = f"{group}/vars"
        if inner in self.file.tree.groups and self.file.tree.text(inner, "name") not in (None, name):
            raise layer.wrong(f"its arrays are those of {self.file.tree.text(inner, 'name')!r:.80}")

    def _places(self, entries: list[dict[str, Any]], place: Place) -> list[Place]:
        """Return where each layer of a model has its arrays, and each model in it those of its layers."""
        names = [_name(entry, entry["config"], _wrong(self.file, "the model")) for entry in entries]
        if self.container is not None:
            inside = f"{place.group}/{self.container}" if place.group else self.container
            return [Place(group) for group in _groups(self.file, inside, entries)]
        if place.names or place.group != self.file.root:  # In a model within the model.
            return [Place(place.group, (*place.names, name)) for name in names]
        root = f"{place.group}/" if place.group else ""
        return [Place(f"{root}{name}") for name in names]


def _groups(file: KerasFile, inside: str, entries: list[dict[str, Any]]) -> list[str | None]:
    """Return the group of each layer, None for a layer without one.

    A group has the name of the layer's class, and a number where it is not the first; numbers follow the order of the
    layers, and in Keras 2.13 are every other one.
    """
    kinds = [snake_case(entry["class_name"]) for entry in entries]
    counts = Counter(kinds)
    found = numbered(file.tree, inside, counts)
    for kind, groups in found.items():
        if len(groups) != counts[kind]:
            raise FileError(f"{file.name} has {len(groups)} groups of arrays for {counts[kind]} layers: {kind:.40}")
    ordered = {kind: iter(found.get(kind, ())) for kind in counts}
    return [next(ordered[kind], None) for kind in kinds]


def numbered(tree: Tree, inside: str, kinds: Container[str]) -> dict[str, list[str]]:
    """Return the groups in a group by their kinds, those of each, which are numbered, in their order."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in tree.names.get(inside, ()):
        if f"{inside}/{name}" not in tree.groups:
            continue
        kind, _, number = name.rpartition("_")
        if name in kinds:
            found.setdefault(name, []).append((0, name))
        elif kind in kinds and number.isascii() and number.isdigit() and len(number) < 10:
            found.setdefault(kind, []).append((int(number), name))
    return {kind: [f"{inside}/{name}" for _, name in sorted(names)] for kind, names in found.items()}


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it in the names of groups: LSTM is lstm, SimpleRNN simple_rnn."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _is_operation(entry: Any) -> bool:
    """Return whether a member of a Functional model is no layer: a step of what computes masks, or a function."""
    if not isinstance(entry, dict):
        return False
    module = entry.get("module")  # The older format has none.
    return entry.get("class_name") in _OF_MASKS if module is None else str(module).startswith("keras.src.ops.")


def _name(entry: dict[str, Any], config: dict[str, Any], wrong: Callable[[str], FileError]) -> str:
    name = entry.get("name", config.get("name"))
    if not isinstance(name, str) or not name:
        raise wrong("a layer has no name")
    return name


def axes_of(entry: dict[str, Any]) -> int | None:
    """Return how many axes a layer was built for, as Keras 3 says in its own format."""
    built = entry.get("build_config")
    shape = built.get("input_shape") if isinstance(built, dict) else None
    if not isinstance(shape, (list, tuple)) or any(isinstance(item, (list, tuple)) for item in shape):
        return None
    return len(shape)


def _wrong(file: KerasFile, what: str) -> Callable[[str], FileError]:
    return lambda why: FileError(f"{file.name}: {what} makes no sense: {why}")


# ---- the order of calls ----


def _called(model: Model, file: str, notes: Notes) -> list[Leaf | Model]:
    """Return the members of a Functional model from its input to its output."""
    what = f"{file}: the model {model.path!r:.80}" if model.path else f"{file}: the model"
    outputs = _ends(model.config.get("output_layers"))
    if len(outputs) != 1 or len(_ends(model.config.get("input_layers"))) != 1:
        raise Refused(f"{what} must have one input and one output: layers() gives its layers by name")
    members, (name, tensor) = {member.name: member for member in model.members}, outputs[0]
    ordered: list[Leaf | Model] = []
    while True:
        member = members.pop(name, None)
        if member is None:
            raise Refused(f"{what} must be a chain of layers, and {name!r:.80} is not one that comes before")
        if tensor != 0:
            raise Refused(f"{what} must be a chain of layers, and uses a state that {name!r:.80} returns")
        if isinstance(member, Leaf) and member.layer.kind == "InputLayer":
            return ordered[::-1]
        ordered.append(member)
        if len(member.calls) != 1:
            raise Refused(f"{what} must be a chain of layers, and calls {name!r:.80} {len(member.calls)} times")
        inputs, masked = _inputs(member.calls[0], f"{what} calls {name!r:.80}")
        if len(inputs) != 1:
            raise Refused(
                f"{what} must be a chain of layers, and calls {name!r:.80} with {len(inputs)} values: layers() gives "
                "its layers by name"
            )
        if masked:
            notes.called[f"the mask of {name!r:.80}"] = None
        ((name, tensor),) = inputs


def _ends(value: Any) -> list[tuple[str, int]]:
    """Return the layers that are a model's inputs or outputs, with the number of a value that each gives."""
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list):
        return []
    return [
        (item[0], item[2]) for item in value if isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)
    ]


def _inputs(call: Any, what: str) -> tuple[list[tuple[str, int]], bool]:
    """Return the values that a call is given, and whether a mask comes with them."""
    if isinstance(call, dict):
        return _of_keras_3(call, what)
    if isinstance(call, list) and call and isinstance(call[0], str):
        call = [call]
    found = []
    for item in call if isinstance(call, list) else []:
        if not isinstance(item, list) or len(item) not in (3, 4) or not isinstance(item[0], str):
            raise Refused(f"{what} with something that is not a value of a layer")
        options = item[3] if len(item) == 4 else {}
        if not isinstance(options, dict) or any(options.values()):
            raise Refused(f"{what} with {options!r:.60}")
        found.append((item[0], item[2]))
    return found, False


def _of_keras_3(call: dict[str, Any], what: str) -> tuple[list[tuple[str, int]], bool]:
    options, args = call.get("kwargs"), call.get("args")
    options = dict(options) if isinstance(options, dict) else {}
    masked = bool(options.pop("mask", None))
    found = []
    for value in args if isinstance(args, list) else []:
        found += [_tensor(item, what) for item in (value if isinstance(value, list) else [value]) if item]
    for name, value in options.items():
        if value:
            raise Refused(f"{what} with {name:.40}={value!r:.60}")
    return found, masked


def _tensor(value: Any, what: str) -> tuple[str, int]:
    """Return the layer that a value comes from, and which of its values it is."""
    own = value.get("config") if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__" else None
    history = own.get("keras_history") if isinstance(own, dict) else None
    if not isinstance(history, list) or len(history) != 3 or not isinstance(history[0], str):
        raise Refused(f"{what} with {value!r:.60}, which is not a single value of a layer")
    return history[0], history[2]
