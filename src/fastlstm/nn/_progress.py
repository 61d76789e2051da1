"""The progress bar of a training: that of tqdm, if it is installed."""

from __future__ import annotations

import functools
import sys
from typing import Any


def progress_bar(wanted: bool, batches: int, done: int, epochs: int) -> Any:
    """Return a bar over the batches of all epochs, of which `done` are over; without tqdm it shows nothing."""
    if wanted and sys.stderr is not None:  # A Windows program without a console has no stderr.
        try:
            from tqdm import tqdm
        except ImportError:
            _say_how_to_get_one()
        else:
            return tqdm(total=batches * epochs, initial=batches * done, unit="batch")
    return _NoBar()


@functools.cache  # The cache makes this print only once.
def _say_how_to_get_one() -> None:
    print("fastlstm: for a progress bar, pip install 'fastlstm[train]', or say progress=False", file=sys.stderr)


class _NoBar:
    """A progress bar that shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def set_description(self, text: str, refresh: bool) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        pass

    def update(self) -> None:
        pass
