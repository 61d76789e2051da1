"""The C interface, called through ctypes: no compiler is needed. `tools/bits` uses the table too, with any version."""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_void_p

import numpy as np

CAPSULE = b"fastlstm._runtime.c_interface"  # The name in fastlstm/capsule.h.
OK = 0
STATUSES = (
    "OK", "NULL", "VERSION", "DTYPE", "SIZE", "KIND", "ACTIVATION", "OPTION", "INSTRUCTION_SET", "MEMORY", "PARAMETERS",
    "TRAINING", "TAPE", "PLAN", "COUNT",
)  # fmt: skip
KINDS = ("LSTM", "RNN", "DENSE", "GRU", "GRU_BEFORE", "LSTM_NORM")
VARIANTS = ("vanilla", "NIG", "NFG", "NOG", "NIAF", "NOAF", "CIFG")
PLACES = ("gate", "g", "h")  # those of a layer's activations
ACTIVATIONS = ("usual", "tanh", "relu", "logistic", "identity", "hard_logistic")


class Layer(ctypes.Structure):
    _fields_ = (
        ("kind", c_int), ("units", c_size_t), ("bidirectional", c_int), ("peephole", c_int), ("variant", c_int),
        ("gate", c_int), ("g", c_int), ("h", c_int), ("clip", c_double), ("cell_clip", c_double),
    )  # fmt: skip


class Network(ctypes.Structure):
    _fields_ = (
        ("version", c_int), ("dtype", c_int), ("inputs", c_size_t), ("layer_count", c_size_t),
        ("layers", POINTER(Layer)), ("training", c_int), ("fast", c_int), ("instruction_set", c_char_p),
    )  # fmt: skip


SIGNATURES = {
    "message": (c_char_p, c_int),
    "plan_bytes": (c_size_t, POINTER(Network)),
    "make_plan": (c_int, POINTER(Network), c_void_p, c_size_t, POINTER(c_void_p)),
    "parameter_count": (c_size_t, c_void_p),
    "output_count": (c_size_t, c_void_p),
    "state_count": (c_size_t, c_void_p, c_size_t),
    "workspace_bytes": (c_size_t, c_void_p, c_size_t, c_size_t),
    "tape_bytes": (c_size_t, c_void_p, c_size_t, c_size_t),
    "set_parameters": (c_int, c_void_p, c_void_p, c_size_t),
    "step": (c_int, c_void_p, c_size_t, *[c_void_p] * 4),
    "forward": (c_int, c_void_p, c_size_t, c_size_t, *[c_void_p] * 6),
    "backward": (c_int, c_void_p, c_size_t, c_size_t, *[c_void_p] * 8, c_int, c_void_p),
    "set_hard_logistic": (c_int, c_void_p, c_size_t, c_int, c_double, c_double),
}


class Interface(ctypes.Structure):
    _fields_ = (("version", c_int), *((name, ctypes.CFUNCTYPE(*types)) for name, types in SIGNATURES.items()))


def interface() -> Interface:
    imported = ctypes.pythonapi.PyCapsule_Import
    imported.restype, imported.argtypes = c_void_p, (c_char_p, c_int)
    return Interface.from_address(imported(CAPSULE, 0))


C = interface()


def status(number: int) -> str:
    return STATUSES[number]


def network(inputs, layers, dtype=np.float32, training=True, instruction_set=None, **more) -> Network:
    """Return the description of a network; it keeps its layers alive."""
    given = (Layer * len(layers))(*layers)
    fields = {"version": C.version, "dtype": np.dtype(dtype).itemsize, "inputs": inputs, "layer_count": len(layers)}
    fields |= {"layers": given, "training": training, "instruction_set": instruction_set} | more
    return Network(**fields)


GUARD = 64  # bytes on each side of what was asked for, which nothing may write to


class Memory:
    """Hold `size` bytes of junk, `odd` bytes off any alignment; `check` asserts that those around are unchanged."""

    def __init__(self, size: int, odd: int = 1) -> None:
        self.size, self.odd = size, odd
        self.bytes = np.full(size + 2 * GUARD + odd, 0xFF, np.uint8)
        self.address = self.bytes.ctypes.data + GUARD + odd

    def check(self) -> None:
        assert (self.bytes[: GUARD + self.odd] == 0xFF).all()
        assert (self.bytes[GUARD + self.odd + self.size :] == 0xFF).all()


def address(array):
    return None if array is None else array.ctypes.data


class Plan:
    """Hold the plan of a network with its parameters, and call the C functions with arrays."""

    def __init__(self, description: Network, parameters=None) -> None:
        self.dtype = np.dtype(f"f{description.dtype}")
        size = C.plan_bytes(byref(description))
        self.memory, self.plan = Memory(size), c_void_p()
        assert status(C.make_plan(byref(description), self.memory.address, size, byref(self.plan))) == "OK"
        self.parameters = C.parameter_count(self.plan)
        self.outputs = C.output_count(self.plan)
        if parameters is not None:
            given = np.ascontiguousarray(parameters)
            assert status(C.set_parameters(self.plan, address(given), given.size)) == "OK"
        self.memory.check()

    def workspace(self, T, B) -> Memory:
        return Memory(C.workspace_bytes(self.plan, T, B), 3)

    def state(self, B):
        return np.zeros(C.state_count(self.plan, B), self.dtype)

    def step(self, x, state):
        B = len(x)
        y, space = np.full((B, self.outputs), np.nan, self.dtype), self.workspace(1, B)
        assert status(C.step(self.plan, B, address(x), address(state), address(y), space.address)) == "OK"
        space.check()
        return y

    def forward(self, x, first=None, tape=False):
        """Return y, the last state and the tape."""
        T, B, _ = x.shape
        y, last, space = np.full((T, B, self.outputs), np.nan, self.dtype), self.state(B), self.workspace(T, B)
        kept = Memory(C.tape_bytes(self.plan, T, B), 5) if tape else None
        arguments = address(x), address(first), address(y), address(last), kept.address if tape else None, space.address
        assert status(C.forward(self.plan, T, B, *arguments)) == "OK"
        space.check()
        if tape:
            kept.check()
        return y, last, kept

    def backward(self, x, y, tape, dy, dlast=None, gradients=None):
        """Return dx, the gradient of the first state, and the parameters' gradients, added to those given."""
        T, B, _ = x.shape
        dx, dfirst, space = np.full_like(x, np.nan), self.state(B), self.workspace(T, B)
        accumulate = gradients is not None
        if gradients is None:
            gradients = np.full(self.parameters, np.nan, self.dtype)
        arguments = [address(array) for array in (x, y)] + [tape.address]
        arguments += [address(array) for array in (dy, dlast, dx, dfirst, gradients)]
        assert status(C.backward(self.plan, T, B, *arguments, accumulate, space.address)) == "OK"
        space.check()
        tape.check()
        return dx, dfirst, gradients


def layer_of(described) -> Layer:
    """Return a layer of a header, fastlstm.c_layers.CLayer, as this table describes it."""
    fields = {"kind": KINDS.index(described.kind), "units": described.units, "bidirectional": described.directions == 2}
    for name, text in described.fields.items():
        word = text.removeprefix("FASTLSTM_")
        if name == "variant":
            fields[name] = VARIANTS.index(word)
        elif name in PLACES:
            fields[name] = ACTIVATIONS.index(word.lower())
        else:
            fields[name] = int(text) if name == "peephole" else float(text)
    return Layer(**fields)


def plan_of(net, part, **options) -> Plan:
    """Return the plan of a part of a network, fastlstm.c_layers.Part, with the network's parameters."""
    description = network(part.inputs, [layer_of(layer) for layer in part.layers], net.dtype, training=False, **options)
    plan = Plan(description, net.flat[part.start : part.start + part.parameters])
    for k, layer in enumerate(part.layers):
        for place, constants in layer.constants.items():
            assert status(C.set_hard_logistic(plan.plan, k, PLACES.index(place), *constants)) == "OK"
    return plan
