"""What `bench/training.py` found, as a table and as a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Give the results in Markdown."""
    lines = [
        "| task | threads | fastlstm, s per epoch | PyTorch, s per epoch | times as fast | losses apart, at most |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in results.items():
        for row in rows:
            seconds = row["seconds_per_epoch"]
            lines.append(
                f"| {name} | {row['threads']} | {seconds['fastlstm']:.3g} | {seconds['PyTorch']:.3g} "
                f"| {row['times_as_fast']:.2f} | {row['losses_apart']:.1e} |"
            )
    return "\n".join(lines)


def picture(results: dict[str, list[dict[str, Any]]]) -> Any:
    """Draw the losses of both over the seconds that training took."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(results), 3.9), layout="constrained")
    threads = next(iter(results.values()))[0]["threads"]
    figure.suptitle(f"The same training in both, on {threads} thread{'s' if threads > 1 else ''}")
    for axes, (name, (row, *_)) in zip(
        figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True
    ):
        for library, colour, marker in (("PyTorch", "tab:orange", "s"), ("fastlstm", "tab:blue", "o")):
            losses = row["losses"][library]
            seconds = row["seconds_per_epoch"][library] * np.arange(1, len(losses) + 1)
            axes.plot(seconds, losses, color=colour, marker=marker, markersize=4, label=library)
        axes.set(title=f"{name}, {row['times_as_fast']:.1f} times as fast", xlabel="seconds", xlim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        axes.set_ylabel("training loss, a mark for each epoch")
    return figure


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    results = json.loads(given.file.read_text("utf-8"))["results"]
    print(table(results))
    if given.plot:
        picture(results).savefig(given.plot, dpi=120)


if __name__ == "__main__":
    main()
