"""``python -m fastlstm``: what this build is; what a C compiler is to be told; a network as a C header."""

import argparse
import sys

from fastlstm import __version__, export_c, get_include, get_library, load, show_config
from fastlstm._config import get_instruction_sets, get_share

parser = argparse.ArgumentParser(
    prog="python -m fastlstm", description="Show what this build of fastlstm is, and on what it runs."
)
parser.add_argument("--cflags", action="store_true", help="print what a C compiler is to be told to find the header")
parser.add_argument("--libs", action="store_true", help="print what it is to be told to link the library")
parser.add_argument(
    "--isa", metavar="SET", choices=get_instruction_sets(),
    help="with --cflags: the instruction set whose kernels the program is to have alone, one of %(choices)s",
)  # fmt: skip
parser.add_argument("--pkgconfigdir", action="store_true", help="print the folder of fastlstm.pc, for PKG_CONFIG_PATH")
parser.add_argument("--cmakedir", action="store_true", help="print the folder for CMake's fastlstm_DIR")
parser.add_argument("--version", action="version", version=f"fastlstm {__version__}")
commands = parser.add_subparsers(dest="command", metavar="COMMAND")
export = commands.add_parser(
    "export", help="write a trained network as a C header", description="Write a trained network as a C header."
)
export.add_argument("network", help="the file of the network, from fastlstm.save")
export.add_argument("header", help="the header to write")
export.add_argument("--name", help="what all names in it begin with, in place of the file's name")
export.add_argument("--fast", action="store_true", help="take the fast tanh and logistic function")
export.add_argument(
    "--isa", metavar="SET", dest="only", choices=get_instruction_sets(),
    help="the instruction set whose kernels the program is to have alone, one of %(choices)s",
)  # fmt: skip
given = parser.parse_args()
if given.isa and not given.cflags:
    parser.error("--isa is for --cflags, where it defines FASTLSTM_ONLY")

if given.command:
    if given.cflags or given.libs or given.pkgconfigdir or given.cmakedir:
        parser.error(f"{given.command} takes none of the options before it")
    try:
        export_c(load(given.network), given.header, name=given.name, fast=given.fast, instruction_set=given.only)
    except (OSError, TypeError, ValueError) as error:
        parser.exit(1, f"{export.prog}: {error}\n")
    parser.exit()
flags = [f"-I{get_include()}"] if given.cflags else []
if given.isa:
    flags += [f"-DFASTLSTM_ONLY={given.isa}"]
if given.libs:
    flags += [get_library(), *([] if sys.platform == "win32" else ["-lm"])]
try:
    flags += [get_share("pkgconfig")] if given.pkgconfigdir else []
    flags += [get_share("cmake/fastlstm")] if given.cmakedir else []
except FileNotFoundError as error:
    parser.exit(1, f"{parser.prog}: {error}\n")
if flags:
    print(*flags)
else:
    show_config()
