"""The course of a training: the measures of each epoch, and a plot of them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Epoch", "History"]


class Epoch(NamedTuple):
    """The measures of one epoch.

    Attributes
    ----------
    loss : float
        The mean loss over the training batches, each with the parameters before its step.
    validation : float or None
        The loss on the validation data after the epoch.
    score : float or None
        The result of `score` after the epoch.
    learning_rate : float
        The learning rate of the last step.
    seconds : float
        The duration, validation and score included.
    """

    loss: float
    validation: float | None
    score: float | None
    learning_rate: float
    seconds: float


@dataclass
class History:
    """The result of `fit`.

    Attributes
    ----------
    epochs : list of Epoch
        The finished epochs.
    stopped : str
        Why the training ended: ``"epochs"``, all epochs were done; ``"patience"``, no epoch was better for that long;
        ``"interrupted"``, by Ctrl-C; ``"diverged"``, a loss or a gradient was not finite.
    """

    epochs: list[Epoch] = field(default_factory=list)
    stopped: str = "epochs"

    @property
    def best(self) -> int | None:
        """The index of the epoch with the highest score, or without scores with the lowest validation loss.

        It is None without either, or before the first epoch. An epoch whose measure is NaN is never the best.
        """
        worth = [
            -math.inf if value is None or math.isnan(value) else value
            for value in (
                epoch.score if epoch.score is not None else None if epoch.validation is None else -epoch.validation
                for epoch in self.epochs
            )
        ]
        return worth.index(max(worth)) if worth and max(worth) > -math.inf else None

    @property
    def seconds(self) -> float:
        """The duration of all epochs."""
        return sum(epoch.seconds for epoch in self.epochs)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw loss, validation and score over the epochs.

        Parameters
        ----------
        path : str or path, optional
            The file to write the picture to.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing: ``pip install 'fastlstm[train]'``.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("pictures need the package matplotlib: pip install 'fastlstm[train]'") from error
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        numbers = range(1, len(self.epochs) + 1)
        axes.plot(numbers, [epoch.loss for epoch in self.epochs], marker=".", label="training")
        for name, colour in (("validation", "tab:orange"), ("score", "tab:green")):
            values = [getattr(epoch, name) for epoch in self.epochs]
            if any(value is not None for value in values):
                on = axes
                if name == "score":  # A score has a scale of its own.
                    on = axes.twinx()
                    on.set_ylabel("score")
                    on.spines["top"].set_visible(False)
                    axes.plot([], [], color=colour, marker=".", label="score")
                on.plot(numbers, values, marker=".", color=colour, label=name)
        if self.best is not None:
            axes.axvline(self.best + 1, color="0.8", zorder=0, label="best")
        axes.set(xlabel="epoch", ylabel="loss")
        axes.locator_params("x", integer=True)
        axes.spines["top"].set_visible(False)
        axes.legend(frameon=False)
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure

    def __str__(self) -> str:
        lines = [f"{'epoch':>6} {'loss':>10} {'validation':>10} {'score':>10} {'rate':>10} {'seconds':>8}"]
        for k, (loss, validation, score, rate, seconds) in enumerate(self.epochs):
            values = ("" if value is None else f"{value:.4g}" for value in (loss, validation, score, rate))
            mark = "  best" if k == self.best else ""
            lines.append(f"{k + 1:>6} " + " ".join(f"{value:>10}" for value in values) + f" {seconds:>8.1f}{mark}")
        return "\n".join([*lines, f"stopped: {self.stopped}"])
