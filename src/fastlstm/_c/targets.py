"""The lines of targets.def: which instruction sets are compiled for a machine, and with which flags.

python3 targets.py x86_64 [msvc]    a line for each: its name and its flags
"""

import re
import sys
from pathlib import Path

PROCESSORS = {"x86_64": "X86", "amd64": "X86", "aarch64": "ARM", "arm64": "ARM"}
# What the arrays of a table of kernels hold, and how it is compiled; a device can store half as many bits.
PRECISIONS = {"32": ["-DFL_BITS=32"], "64": ["-DFL_BITS=64"]}
ALL_PRECISIONS = PRECISIONS | {
    "bfloat16": ["-DFL_BITS=32", "-DFL_STORED_BFLOAT16"],
    "float16": ["-DFL_BITS=32", "-DFL_STORED_FLOAT16"],
}


def instruction_sets(machine: str, msvc: bool = False, emulated: bool = False) -> dict[str, list[str]]:
    """Return the compiler's flags of each instruction set that `machine` may have, by name, slowest first."""
    lines = Path(__file__).with_suffix(".def").read_text("utf-8")
    wanted = {"ANY", PROCESSORS.get(machine.lower()), "EMULATED" if emulated else None}
    found = re.findall(r'^TARGET\((\w+), (\w+), "(.*)", "(.*)", \w+\)$', lines, re.MULTILINE)
    return {name: (cl if msvc else gcc).split() for name, processor, gcc, cl in found if processor in wanted}


if __name__ == "__main__":
    for name, flags in instruction_sets(sys.argv[1], "msvc" in sys.argv[2:]).items():
        print(name, *flags)
