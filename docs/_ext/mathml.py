"""Formulas as MathML, which browsers draw by themselves: no script and no fonts from elsewhere."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def _formula(writer: Any, node: nodes.Element, as_block: bool) -> str:
    try:
        return str(tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        LOGGER.warning("formula: %s", error, location=node)
        return str(writer.encode(node.astext()))


def visit_math(writer: Any, node: nodes.Element) -> None:
    """Write a formula within a line."""
    writer.body.append(_formula(writer, node, as_block=False))
    raise nodes.SkipNode


def visit_displaymath(writer: Any, node: nodes.Element) -> None:
    """Write a formula on lines of its own."""
    writer.body.append(f'<div class="formula">{_formula(writer, node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Make it a renderer that `html_math_renderer` can name."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
