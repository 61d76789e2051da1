"""Names of the library as links.

In the pages `` {api}`LSTM.backward` `` must be a public name, or there is a warning. In the docstrings a word between
single backticks is a link where it is one, and else code: an argument, or an attribute.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.autodoc.mock import mock
from sphinx.roles import XRefRole

import fastlstm
import fastlstm.inspect
import fastlstm.keras

with mock(["onnx", "torch"]):  # The site is made where they are not installed, and the same where they are.
    import fastlstm.onnx
    import fastlstm.onnx.backend
    import fastlstm.torch

    for name in fastlstm.torch.__all__:  # imported when they are asked for
        getattr(fastlstm.torch, name)

MODULES = {"fastlstm": fastlstm, "fastlstm.nn": fastlstm.nn, "fastlstm.inspect": fastlstm.inspect}
MODULES |= {"fastlstm.reference": fastlstm.reference, "fastlstm.torch": fastlstm.torch, "fastlstm.onnx": fastlstm.onnx}
MODULES |= {"fastlstm.onnx.backend": fastlstm.onnx.backend, "fastlstm.keras": fastlstm.keras}
INTERNAL = {"of_call", "arrays", "named", "read", "checked", "check_steps", "needs", "takes_sequences", "takes_ids"}
# What a layer's class says to the networks around it, which the base class describes.
HOOKS = {"shapes", "initialise", "compute", "gradients", "output_for"}


def full_name(name: str, here: str | None) -> str | None:
    """Give the whole name of something public that is meant by `name` in the module `here`; None if there is none."""
    if name in MODULES:
        return name
    for module in dict.fromkeys([here, *MODULES]):
        known = MODULES.get(str(module))
        own = name.removeprefix(f"{module}.")
        first, *rest = own.split(".")
        if known is None or (first not in known.__all__ and f"{module}.{first}" not in MODULES):
            continue
        found = getattr(known, first)
        for part in rest:
            found = getattr(found, part, None)
        if found is not None:
            return f"{module}.{own}"
    return None


def method(name: str, module: str | None, kind: str | None) -> str | None:
    """Give the whole name of a method of the class that is being described, if it has one of this name."""
    described = getattr(MODULES.get(str(module)), str(kind), None)
    own = inspect.isfunction(getattr(described, name, None)) and not name.startswith("_")
    return f"{module}.{kind}.{name}" if own else None


class Name(XRefRole):
    """A public name of the library."""

    lenient = False

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Link to it; else, if that is allowed, give it as code."""
        name, module = self.target.removesuffix("()"), self.env.ref_context.get("py:module")
        target = full_name(name, module) or method(name, module, self.env.ref_context.get("py:class"))
        if target is None and self.lenient:
            return [nodes.literal(self.rawtext, self.title, classes=["code"])], []
        if target is not None:
            self.target = target
        self.refdomain, self.reftype, self.classes = "py", "obj", ["xref", "py", "py-obj"]
        return self.create_xref_node()


class NameOrCode(Name):
    """A public name, or code."""

    lenient = True


def skip(app: Sphinx, what: str, name: str, member: object, skipped: bool, options: object) -> bool | None:
    """Leave out what the library's own parts say to each other, and fields, which the class describes."""
    place = getattr(member, "__module__", None), str(getattr(member, "__qualname__", None))
    own = place[0] == "fastlstm.nn.layer" or place == ("fastlstm.layers.network_layer", "NetworkLayer.output_for")
    hidden = name in INTERNAL or (name in HOOKS and not own) or type(member).__name__ == "_tuplegetter"
    return True if hidden else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the two roles; choose what is described."""
    app.connect("autodoc-skip-member", skip)
    app.add_role("api", Name())
    app.add_role("name", NameOrCode())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
