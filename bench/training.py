"""Training beside PyTorch: the same networks, weights, batches and hyperparameters, in turns, an epoch of each.

    pip install '.[dev]'
    python bench/training.py [--epochs N] [--threads 1,2] [--json FILE] [--plot FILE] [TASK ...]

The tasks are those of examples/, without peepholes, which PyTorch has not, and without dropout, whose masks would not
be the same; sizes and learning rates are theirs too, but the rate stays as it is, and the optimiser is Adam for all. So
the two learning curves are the same but for rounding: if not, there is no result. PyTorch does what its users do:
sequences of different lengths are packed, and its optimiser is the fused one. Making the batches is not timed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl
import torch
from torch.nn.functional import cross_entropy, ctc_loss
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from training_report import picture, table

import fastlstm
from fastlstm import nn
from fastlstm.bench import machine

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import _data
import characters
import speech
import tagging
import vowels

TOLERANCE = 5e-3  # relative, of the losses of an epoch: differences of rounding grow as training goes on


class Task(NamedTuple):
    """What is trained: the network, the batches of each epoch, the loss, and how."""

    network: nn.Sequential
    batches: nn.BatchSource
    loss: Callable[..., Any]
    learning_rate: float
    clip: float
    beta2: float = 0.999


# ---- the same in PyTorch ---------------------------------------------------------------------------------------------


class Twin(torch.nn.Module):
    """A network in PyTorch, with the weights of one of fastlstm's."""

    def __init__(self, network: nn.Sequential) -> None:
        super().__init__()
        self.kinds = [type(layer).__name__ for layer in network.layers]
        self.activations = [getattr(layer, "activation", "identity") for layer in network.layers]
        self.parts = torch.nn.ModuleList(_part(layer) for layer in network.layers)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None, state: Any = None) -> tuple[Any, list[Any]]:
        """Give what the network gives, and the states of the recurrent layers."""
        states, after, directions = iter(state or ()), [], 1
        for kind, activation, part in zip(self.kinds, self.activations, self.parts, strict=True):
            if kind == "LSTM":
                T, directions = x.shape[0], 2 if part.bidirectional else 1
                before = next(states, None)
                if lengths is None:
                    x, last = part(x, before)
                else:
                    packed, last = part(pack_padded_sequence(x, lengths, enforce_sorted=False), before)
                    x, _ = pad_packed_sequence(packed, total_length=T)
                after.append(tuple(array.detach() for array in last))
            elif kind == "Last":
                rows = torch.arange(x.shape[1])
                ends = torch.full_like(rows, x.shape[0] - 1) if lengths is None else lengths - 1
                half = x.shape[2] // directions
                x = torch.cat([x[ends, rows, :half], x[0, :, half:]], dim=1)
            elif kind == "Mean":  # past an end there are zeros
                x = x.mean(0) if lengths is None else x.sum(0) / lengths[:, None]
            else:
                x = part(x)
                if activation != "identity":
                    x = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid}[activation](x)
        return x, after


def _part(layer: Any) -> torch.nn.Module:
    """Make one layer, with the same weights."""
    tensors = {name: torch.tensor(value) for name, value in layer.params.items()}
    match layer:
        case fastlstm.LSTM():
            part = torch.nn.LSTM(
                layer.input_size, layer.hidden_size, layer.num_layers, bidirectional=layer.bidirectional
            )
            with torch.no_grad():
                for name, parameter in part.named_parameters():
                    ours = {"weight_ih": "W", "weight_hh": "R", "bias_ih": "b"}
                    kind, _, suffix = name.rpartition("_l")
                    parameter.copy_(tensors[f"{ours[kind]}_l{suffix}"]) if kind in ours else parameter.zero_()
            for name, parameter in part.named_parameters():
                # One bias per gate: two would move twice as far.
                parameter.requires_grad_(not name.startswith("bias_hh"))
            return part
        case nn.Dense():
            part = torch.nn.Linear(layer.input_size, layer.output_size)
            part.load_state_dict({"weight": tensors["V"], "bias": tensors["c"]})
            return part
        case nn.Embedding():
            return torch.nn.Embedding.from_pretrained(tensors["E"], freeze=False)
        case nn.Last() | nn.Mean() | nn.Dropout():
            return torch.nn.Identity()
    raise TypeError(f"no twin of {layer!r} is known")


def _loss(loss: Callable[..., Any], y: torch.Tensor, targets: dict[str, Any]) -> torch.Tensor:
    """Give the same loss of a prediction in PyTorch."""
    options = loss.keywords if isinstance(loss, partial) else {}
    if "labels" in targets:
        labels, label_lengths = (torch.from_numpy(targets[name]) for name in ("labels", "label_lengths"))
        lengths = torch.full((len(labels),), len(y)) if targets["lengths"] is None else targets["lengths"]
        y = y.log_softmax(-1)
        return ctc_loss(y, labels, torch.as_tensor(lengths), label_lengths, reduction="sum") / len(labels)
    target, weights = torch.from_numpy(targets["target"].astype(np.int64)), options.get("class_weights")
    if targets.get("mask") is not None:
        target = torch.where(torch.from_numpy(targets["mask"]), target, -100)
    weights = None if weights is None else torch.from_numpy(weights)
    return cross_entropy(y.reshape(-1, y.shape[-1]), target.reshape(-1), weights)


# ---- an epoch of each ------------------------------------------------------------------------------------------------


def fastlstm_epochs(task: Task, seed: int) -> Iterator[tuple[float, float]]:
    """Train with fastlstm: gives the loss and the seconds of each epoch."""
    network, optimiser = task.network, nn.Adam(task.network.flat, task.learning_rate, beta2=task.beta2)
    rng, grads, carry = np.random.default_rng(seed), None, getattr(task.batches, "carries_state", False)
    while True:
        total, size, state, seconds = 0.0, 0, None, 0.0
        for batch in task.batches.epoch(rng):
            began = time.perf_counter()
            y, state, tape = network.forward(**batch.inputs, **({"state": state} if carry else {}))
            value, dy = task.loss(y, **batch.targets)
            grads = network.backward(tape, dy, out=grads)
            nn.clip_norm(grads.flat, task.clip)
            optimiser.step(grads.flat)
            seconds += time.perf_counter() - began
            total, size = total + value * batch.size, size + batch.size
        yield total / size, seconds


def torch_epochs(task: Task, twin: Twin, seed: int) -> Iterator[tuple[float, float]]:
    """Train the twin in PyTorch: gives the loss and the seconds of each epoch."""
    parameters = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(parameters, task.learning_rate, (0.9, task.beta2), fused=True)
    rng, carry = np.random.default_rng(seed), getattr(task.batches, "carries_state", False)
    while True:
        total, size, state, seconds = 0.0, 0, None, 0.0
        for batch in task.batches.epoch(rng):
            began = time.perf_counter()
            x = torch.from_numpy(np.ascontiguousarray(batch.inputs["x"]))
            lengths = batch.inputs.get("lengths")
            optimiser.zero_grad(set_to_none=True)
            y, state = twin(
                x if x.is_floating_point() else x.long(),
                None if lengths is None else torch.from_numpy(np.asarray(lengths)),
                state if carry else None,
            )
            loss = _loss(task.loss, y, batch.targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, task.clip)
            optimiser.step()
            seconds += time.perf_counter() - began
            total, size = total + loss.item() * batch.size, size + batch.size
        yield total / size, seconds


def compare(make: Callable[[], Task], epochs: int, threads: int) -> dict[str, Any]:
    """Train both, an epoch of each in turns."""
    fastlstm.set_num_threads(threads)
    torch.set_num_threads(threads)
    task = make()
    ours, theirs = fastlstm_epochs(task, 0), torch_epochs(task, Twin(task.network), 0)
    curves: dict[str, list[tuple[float, float]]] = {"fastlstm": [], "PyTorch": []}
    with threadpoolctl.threadpool_limits(1, user_api="blas"):  # SciPy's and NumPy's, as in the examples
        for epoch in range(epochs):
            for name, iterator in sorted((("fastlstm", ours), ("PyTorch", theirs)), reverse=epoch % 2 == 1):
                curves[name].append(next(iterator))
    losses = {name: [loss for loss, _ in curve] for name, curve in curves.items()}
    seconds = {name: statistics.median(s for _, s in curve) for name, curve in curves.items()}
    apart = [abs(a - b) / abs(b) for a, b in zip(*losses.values(), strict=True)]
    if max(apart) > TOLERANCE:
        raise SystemExit(f"the comparison is void: losses of an epoch are up to {max(apart):.1g} apart")
    return {
        "network": repr(task.network),
        "parameters": task.network.flat.size,
        "threads": threads,
        "losses": losses,
        "seconds_per_epoch": seconds,
        "times_as_fast": seconds["PyTorch"] / seconds["fastlstm"],
        "losses_apart": max(apart),
    }


# ---- the tasks -------------------------------------------------------------------------------------------------------


def comparable(network: Any) -> nn.Sequential:
    """Give a network like this, without peepholes and dropout, with weights of its own."""
    described = fastlstm.saving.architecture(network)
    for layer in described["layers"]:
        if layer["type"] == "LSTM":
            layer |= {"peephole": False, "dropout": 0.0, "recurrent_dropout": 0.0}
    described["layers"] = [layer for layer in described["layers"] if layer["type"] != "Dropout"]
    network = fastlstm.saving.build(described)
    network.flat[:] = np.random.default_rng(0).uniform(-0.08, 0.08, network.flat.size)
    return network


def vowels_task(cache: Path) -> Task:
    """Nine speakers: one direction and the other, the mean of the outputs."""
    parts = vowels.vowels.read(_data.fetch(vowels.vowels.SOURCE, cache))
    series, speakers = vowels.arrays(parts.train, vowels.scaling(parts.train))
    batches = nn.Batches(series, speakers, vowels.BATCH)
    return Task(comparable(vowels.network(12, 128, 0)), batches, nn.softmax_cross_entropy, vowels.LEARNING_RATE, 1.0)


def tagging_task(cache: Path) -> Task:
    """Parts of speech: ids, one direction and the other, a class at each step; lengths differ much."""
    train, _, _ = tagging.read(_data.fetch(tagging.SOURCE, cache))
    vocabulary = tagging.symbols(train)
    tags = sorted(set(itertools.chain.from_iterable(sentence.tags for sentence in train)))
    index, tag_index = ({name: k for k, name in enumerate(names)} for names in (vocabulary, tags))
    loss = partial(nn.softmax_cross_entropy, class_weights=np.array([1] * len(tags) + [0], np.float32))
    network = comparable(tagging.network(len(vocabulary), len(tags), 128, 0))
    return Task(network, tagging.Spelled(train, index, tag_index), loss, tagging.LEARNING_RATE, 1.0)


def characters_task(cache: Path) -> Task:
    """Text: ids, a class at each step, the state carried on; the first 200,000 characters."""
    text = characters.characters.read(_data.fetch(characters.characters.SOURCE, cache)).train[:200_000]
    alphabet = characters.UNKNOWN + "".join(sorted(set(text)))
    ids = characters.encode(text, alphabet)
    batches = nn.Chunks(ids[:-1], ids[1:], characters.ROWS, characters.STEPS)
    network = comparable(characters.network(len(alphabet), characters.FULL[0], 0))
    return Task(network, batches, nn.softmax_cross_entropy, characters.LEARNING_RATE, 1.0, characters.BETA2)


def speech_task(cache: Path) -> Task:
    """Speech: spectra, two layers in both directions, CTC."""
    parts = speech.read(_data.fetch(speech.SOUNDS, cache), _data.fetch(speech.TRANSCRIPTS, cache))
    heard = [speech.spectrogram(one.samples) for one in parts.train]
    mean, std = (measure(np.concatenate(heard), axis=0) for measure in (np.mean, np.std))
    batches = speech.Spoken([(x - mean) / std for x in heard], [one.text for one in parts.train])
    loss = partial(nn.ctc_loss, per_label=False)
    return Task(comparable(speech.network(speech.FULL[0], 0)), batches, loss, speech.LEARNING_RATE, speech.CLIP)


TASKS = {"vowels": vowels_task, "tagging": tagging_task, "characters": characters_task, "speech": speech_task}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help=f"of {', '.join(TASKS)}; default: all")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=lambda text: [int(number) for number in text.split(",")], default=[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--cache", type=Path, default=_data.default_cache(), help="folder for the data")
    given = parser.parse_args()
    try:
        results = {
            name: [compare(partial(TASKS[name], given.cache), given.epochs, threads) for threads in given.threads]
            for name in given.tasks
        }
    except _data.DataUnavailable as error:
        sys.exit(str(error))
    print(table(results))
    if given.json:
        about = {"machine": machine.describe(), "versions": machine.versions()}
        given.json.write_text(json.dumps(about | {"results": results}, indent=1) + "\n", encoding="utf-8")
    if given.plot:
        picture(results).savefig(given.plot, dpi=120)


if __name__ == "__main__":
    main()
