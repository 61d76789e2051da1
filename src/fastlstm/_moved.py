"""The modules of 0.1.0 under their old names, which its pickles and some programs import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "fastlstm"

MODULES = {
    "_batches": "_engine.batches _engine.options",
    "_checks": "_arrays.checks",
    "_core": "_engine.call _engine.checkpoints",
    "_files": "_arrays.files",
    "_layer": "layers.stack",
    "_libraries": "_arrays.libraries",
    "_masks": "layers.masks",
    "_parameters": "layers.parameters",
    "_runtime": "_system.runtime _system.backend _arrays.buffers _cells.kernel",
    "_tapes": "_engine.tapes",
    "frozen": "layers.frozen",
    "lstm": "layers.lstm",
    "lstm_functions": "functions.lstm",
    "rnn": "layers.rnn",
    "rnn_functions": "functions.rnn",
    "stream": "layers.stream",
    "tbptt": "layers.tbptt",
}


class _Finder(MetaPathFinder, Loader):
    """Import a module under its old name as the module that it is now."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == PACKAGE and name in MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = module_of(module.__name__.rpartition(".")[2])


def module_of(name: str) -> ModuleType:
    """Return the module whose name in 0.1.0 was `name`; where it is several now, one with all that they have."""
    modules = [importlib.import_module(f"{PACKAGE}.{own}") for own in MODULES[name].split()]
    if len(modules) == 1:
        return modules[0]
    joined = ModuleType(f"{PACKAGE}.{name}")
    for module in modules:
        vars(joined).update({name: value for name, value in vars(module).items() if not name.startswith("__")})
    return joined


sys.meta_path.append(_Finder())
