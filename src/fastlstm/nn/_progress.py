"""The progress bar of a training: tqdm's, where there is tqdm."""

from __future__ import annotations

import functools
import sys
from typing import Any


def progress_bar(wanted: bool, batches: int, done: int, epochs: int) -> Any:
    """Give a bar over the batches of all epochs, some of which are done; without tqdm one that shows nothing."""
    if wanted and sys.stderr is not None:  # as it is without a console
        try:
            from tqdm import tqdm
        except ImportError:
            _say_how_to_get_one()
        else:
            return tqdm(total=batches * epochs, initial=batches * done, unit="batch")
    return _NoBar()


@functools.cache  # once
def _say_how_to_get_one() -> None:
    print("fastlstm: for a progress bar, pip install 'fastlstm[train]', or say progress=False", file=sys.stderr)


class _NoBar:
    """What a bar does, without one."""

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
