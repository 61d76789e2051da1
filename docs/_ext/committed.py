"""Results that are in the repository, as tables: each comes out of the command that prints it, none is typed."""

from __future__ import annotations

import functools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
EXAMPLES = "-m examples --table examples/results"


@functools.cache
def printed(arguments: str) -> str:
    """Run Python in the root of the repository, and give what it prints."""
    command = [sys.executable, *shlex.split(arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ExtensionError(f"python {arguments}: {ended.stderr}")
    return ended.stdout


def rows_of(table: str) -> list[list[str]]:
    """Give the cells of a table in Markdown, the header first."""
    head, _, *rows = table.strip().splitlines()
    return [[with_unit(cell.strip()) for cell in row.strip("|").split("|")] for row in (head, *rows)]


def with_unit(text: str) -> str:
    """Keep numbers and units on one line."""
    return re.sub(r"(\d) (s|MB|°C|nats|bits)\b", "\\1\u00a0\\2", text.replace(" %", "\u00a0%"))


class Markdown(SphinxDirective):
    """Something that gives Markdown."""

    def parsed(self, text: str) -> list[nodes.Node]:
        """Read it as a part of the page."""
        inside = nodes.Element()
        lines = text.splitlines()
        self.state.nested_parse(StringList(lines, self.env.doc2path(self.env.docname)), self.content_offset, inside)
        return list(inside.children)


class Printed(Markdown):
    """What ``python ARGUMENTS`` prints: Markdown, or as it is."""

    required_arguments, final_argument_whitespace = 1, True
    option_spec: ClassVar = {"as-code": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Run the command."""
        text = printed(self.arguments[0])
        if "as-code" in self.options:
            return [nodes.literal_block(text, text, language="text")]
        return [nodes.container("", *self.parsed(text), classes=["printed"])]


class Result(Markdown):
    """What an example came to, ``result weather``, with what it has to say beside; or what each of them did."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Take it from the table that the examples print."""
        head, *rows = rows_of(printed(EXAMPLES))
        by_name = {row[0].removeprefix("[").partition("]")[0]: row[1:-1] for row in rows}
        if self.arguments:
            report = json.loads((ROOT / f"examples/results/{self.arguments[0]}.json").read_text("utf-8"))
            cells = dict(zip(head[1:-1], by_name[self.arguments[0]], strict=True)) | report["details"]
            cells["parameters"] = f"{report['parameters']:,}"
            lines = [["", ""], ["---", "---"], *([name, str(text)] for name, text in cells.items() if text)]
        else:
            rows = [[f"[{name}]({name}.md)", *cells] for name, cells in by_name.items()]
            lines = [head[:-1], ["---"] * (len(head) - 1), *rows]
        return self.parsed("\n".join(f"| {' | '.join(line)} |" for line in lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the two directives."""
    app.add_directive("printed", Printed)
    app.add_directive("result", Result)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
