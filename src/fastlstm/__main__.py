"""``python -m fastlstm``: what this build is, and on what it runs; what a C compiler is to be told."""

import argparse
import sys

from fastlstm import __version__, get_include, get_library, show_config

parser = argparse.ArgumentParser(
    prog="python -m fastlstm", description="Show what this build of fastlstm is, and on what it runs."
)
parser.add_argument("--cflags", action="store_true", help="print what a C compiler is to be told to find the header")
parser.add_argument("--libs", action="store_true", help="print what it is to be told to link the library")
parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
given = parser.parse_args()

flags = [f"-I{get_include()}"] if given.cflags else []
if given.libs:
    flags += [get_library(), *([] if sys.platform == "win32" else ["-lm"])]
if flags:
    print(*flags)
else:
    show_config()
