"""HDF5 files as Keras writes them, read without the HDF5 library.

That library allocates what a file says, four gigabytes for a name, and with some bytes it never ends: it is not for
files that are not trusted. What Keras writes is a small part of the format: groups, arrays in one piece, and texts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from fastlstm._arrays.arrays import Array
from fastlstm.keras._bytes import Bytes
from fastlstm.keras._objects import Group, Stored, object_at, text_of, values_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Groups within groups, and groups and arrays in all: Keras writes some eight of them for a layer, with its optimiser.
MOST_DEPTH = 32
LONGEST_PATH = 1024
MOST_OBJECTS = 1 << 17


class Tree:
    """The arrays and groups of an HDF5 file, by their paths, such as ``layers/lstm/cell/vars/0``.

    Attributes
    ----------
    arrays : dict of str to Stored
        Those that `read` reads.
    groups : dict of str to Group
        The groups, "" the file's own.
    names : dict of str to list of str
        The names of what is in each group, in the order of the alphabet.
    """

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file = Bytes(file, size, name)
        self.arrays: dict[str, Stored] = {}
        self.groups: dict[str, Group] = {}
        self.names: dict[str, list[str]] = {}
        self._headers: set[int] = set()
        self._paths: dict[str, dict[str, list[tuple[str, tuple[str, ...]]]]] = {}
        self._add("", self._root(), 0)

    def _root(self) -> int:
        """Return where the header of the file's own group is."""
        file = self._file
        version = file.number(8, 1)
        if version > 1:
            raise file.damaged("it is in HDF5's later format, which Keras does not write: load it there, save it anew")
        if file[13, 2] != b"\x08\x08" or file.number(24 + 4 * version, 8):
            raise file.damaged("its places must be numbers of 8 bytes, from its beginning on")
        return file.number(24 + 4 * version + 32 + 8, 8)

    def _add(self, path: str, header: int, depth: int) -> None:
        """Add the object whose header this is, and all that is in it."""
        file = self._file
        if header in self._headers:
            raise file.damaged(f"{path!r} has another name too")
        self._headers.add(header)
        if len(path) > LONGEST_PATH:  # Each object within would have it again.
            raise file.damaged(f"the path of a group or an array has {len(path)} letters")
        if depth > MOST_DEPTH or len(self._headers) > MOST_OBJECTS:
            raise file.damaged(f"more than {MOST_DEPTH} groups in each other, or {MOST_OBJECTS} in all")
        found = object_at(file, header)
        if isinstance(found, Stored):
            self.arrays[path] = found
            return
        self.groups[path], self.names[path] = found, []
        for name, own in self._members(found):
            self.names[path].append(name)
            self._add(f"{path}/{name}" if path else name, own, depth + 1)

    def _members(self, group: Group) -> Iterator[tuple[str, int]]:
        """Yield the names in a group, and where the headers of what they name are."""
        file = self._file
        if file[group.heap, 4] != b"HEAP":
            raise file.damaged("a group has no names")
        names = file[file.number(group.heap + 24, 8), file.number(group.heap + 8, 8)]
        known = set()
        for leaf in self._leaves(group.tree, None):
            if file[leaf, 5] != b"SNOD\1":
                raise file.damaged("a group has no members")
            count = file.number(leaf + 6, 2)
            for entry in struct.iter_unpack("<QQI20x", file[leaf + 8, 40 * count]):
                at, header, cached = entry
                name = names[at : max(names.find(b"\0", at), at)].decode("utf-8", "replace")
                if cached == 2:
                    raise file.damaged(f"{name!r} is a link, and must be in the file itself")
                if not name or "/" in name or name in known:
                    raise file.damaged(f"no group or array can be called {name!r}")
                known.add(name)
                yield name, header

    def _leaves(self, node: int, above: int | None) -> Iterator[int]:
        """Yield where the leaves of a tree are; `above` is the level of the node that this one is in."""
        file = self._file
        signature, kind, level, count = struct.unpack("<4sBBH", file[node, 8])
        if signature != b"TREE" or kind or (above is not None and level != above - 1):
            raise file.damaged("a group has no members")
        for k in range(count):
            child = file.number(node + 32 + 16 * k, 8)
            if level:
                yield from self._leaves(child, level)
            else:
                yield child

    def below(self, path: str) -> Iterator[str]:
        """Yield the paths of the arrays in a group and in the groups in it."""
        for name in self.names.get(path, ()):
            own = f"{path}/{name}" if path else name
            if own in self.arrays:
                yield own
            else:
                yield from self.below(own)

    def paths(self, group: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        """Return the paths of all arrays below a group, each with the names that it goes through, by these names.

        All of them are at "".
        """
        if group not in self._paths:
            found = self._paths[group] = {"": []}
            for path in self.below(group):
                names = tuple(path.removeprefix(f"{group}/").split("/"))
                for name in {"", *names[:-1]}:
                    found.setdefault(name, []).append((path, names))
        return self._paths[group]

    def read(self, path: str) -> Array:
        """Return the values of an array; bfloat16, which NumPy lacks, as float32."""
        return values_of(self._file, self.arrays[path], path)

    def text(self, path: str, name: str) -> str | None:
        """Return an attribute of a group that is a single text; None if it has none of this name."""
        return text_of(self._file, self.groups[path].attributes, name)

    def has(self, name: str) -> bool:
        """Return whether the file itself has an attribute of this name."""
        return name in self.groups[""].attributes
