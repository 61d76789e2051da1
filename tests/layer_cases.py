"""Small layers in every shape and with every option, arrays for them, and the same layers of PyTorch."""

import numpy as np

from fastlstm import GRU, LSTM, RNN, PackedSequence

T, B, I, H = 6, 4, 3, 5
LENGTHS = np.array([2, 6, 0, 4])
PACKED_LENGTHS = {"sorted": np.array([6, 4, 4, 1]), "unsorted": np.array([2, 6, 1, 4])}
SHAPES = {
    "one": {},
    "two layers": {"num_layers": 2},
    "two directions": {"bidirectional": True},
    "both": {"num_layers": 3, "bidirectional": True},
}
OPTIONS = {
    "variant": {"variant": "CIFG"},
    "recurrence": {"variant": "FGR"},
    "projection": {"proj_size": 3},
    "dropout": {"dropout": 0.4},
    "recurrent dropout": {"recurrent_dropout": 0.4},
    "drop connect": {"drop_connect": 0.4},
    "zoneout": {"zoneout": (0.3, 0.2)},
    "lengths": {"lengths": LENGTHS},
    "reset": {"reset": np.random.default_rng(5).random((T, B)) < 0.3},
    "batch first": {"batch_first": True},
}
CALL = ("lengths", "reset")  # options of a call, not of the layer


def gru_before(*sizes, **options):
    """The GRU that resets before the product."""
    return GRU(*sizes, reset_after=False, **options)


def layer_norm_lstm(*sizes, **options):
    """The layer-normalised LSTM."""
    return LSTM(*sizes, layer_norm=True, **options)


CELLS = [LSTM, layer_norm_lstm, GRU, gru_before, RNN]
# Those whose state is h alone.
UNIT_CELLS = [GRU, gru_before, RNN]


def make(options, layer=LSTM):
    """Return a layer with some of the options, and the others, which are those of a call."""
    own = {name: value for name, value in options.items() if name not in CALL}
    return layer(I, H, dtype=np.float64, seed=0, **own), {name: options[name] for name in CALL if name in options}


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def sequence(network, *shape, seed=0):
    """Return random values of a shape (T, B, ...) in the layout of the network."""
    array = random(*shape, seed=seed)
    return np.ascontiguousarray(array.swapaxes(0, 1)) if network.batch_first else array


def states(network, seed):
    """Return a random state of all layers and directions."""
    cells = network.num_layers * network.directions
    h, c = random(cells, B, network.output_size, seed=seed), random(cells, B, H, seed=seed + 1)
    if not isinstance(network, LSTM):
        return h
    return (h, c) if network.variant != "FGR" else (h, c, random(cells, B, 3 * H, seed=seed + 10))


def packed_rows(padded, lengths):
    """Return an array of shape (T, B, ...) as the rows of all steps, longest sequence first, gathered one by one."""
    order = np.argsort(-lengths, kind="stable")
    return np.stack([padded[t, b] for t in range(max(lengths)) for b in order if lengths[b] > t])


def pack(padded, lengths):
    order = np.argsort(-lengths, kind="stable")
    sizes = np.array([np.sum(lengths > t) for t in range(max(lengths))])
    return PackedSequence(packed_rows(padded, lengths), sizes, order)


def their_network(torch, network):
    """Return torch.nn.LSTM, GRU or RNN with the same weights, and their names of the parameters."""
    kind = getattr(torch.nn, type(network).__name__)
    options = {"proj_size": network.proj_size} if network.proj_size else {}
    theirs = kind(
        network.input_size,
        H,
        network.num_layers,
        bidirectional=network.bidirectional,
        batch_first=network.batch_first,
        **options,
    ).double()
    names = {"W": "weight_ih", "R": "weight_hh", "b": "bias_ih", "proj": "weight_hr"}
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.startswith("bias_hh"):
                parameter.zero_()
        for name, array in network.params.items():
            own, _, suffix = name.partition("_")
            if own == "bn":
                getattr(theirs, f"bias_hh_{suffix}")[-H:] = torch.from_numpy(array)
            else:
                getattr(theirs, f"{names[own]}_{suffix}").copy_(torch.from_numpy(array))
    return theirs, names


def their_gradients(theirs, names, network):
    """Return PyTorch's gradients by the names of the parameters of the network."""
    found = {}
    for name in network.params:
        own, _, suffix = name.partition("_")
        if own == "bn":
            found[name] = getattr(theirs, f"bias_hh_{suffix}").grad[-H:].numpy()
        else:
            found[name] = getattr(theirs, f"{names[own]}_{suffix}").grad.numpy()
    return found
