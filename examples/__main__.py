"""The examples: each a task on real data, but for flows, which shows gradients.

python -m examples                    what there is
python -m examples weather --quick    one of them, in about a minute
python -m examples --table FOLDER     results that were written to a folder, as a table
"""

from __future__ import annotations

import ast
import json
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent
NUMBERS = "found", "baseline", "stronger"


def tasks() -> dict[str, str]:
    """Give the first line of each example's description, by its name."""
    files = sorted(HERE.glob("[!_]*.py"))
    return {path.stem: str(ast.get_docstring(ast.parse(path.read_text("utf-8")))).splitlines()[0] for path in files}


def table(folder: Path) -> str:
    """Give the results in a folder as a table in Markdown."""
    lines = [
        "| example | held-out data | fastlstm | baseline | a stronger one | time | memory | picture |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text("utf-8"))
        report |= {name: f"{report[name]:#.3g}".rstrip(".") for name in NUMBERS if report[name] is not None}
        stronger = "" if report["stronger"] is None else "{stronger} {unit}, {stronger_name}".format(**report)
        memory = "" if report["memory_mb"] is None else "{memory_mb:.0f} MB".format(**report)
        lines.append(
            "| [{task}](examples/{task}.py) | {measure} | {found} {unit} | {baseline} {unit}, {baseline_name} "
            "| {0} | {seconds:.0f} s | {1} | [see](examples/results/{task}.png) |".format(stronger, memory, **report)
        )
    return "\n".join(lines)


def main() -> None:
    """Do what the command line says."""
    known = tasks()
    match sys.argv[1:]:
        case []:
            width = max(map(len, known))
            print(*(f"{name:{width}}  {line}" for name, line in known.items()), sep="\n")
            print("\npython -m examples NAME --quick")
        case ["--table", folder]:
            print(table(Path(folder)))
        case [name, *_] if name in known:
            sys.path.insert(0, str(HERE))  # as if the file had been run itself
            sys.argv = sys.argv[1:]
            runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")
        case _:
            sys.exit(f"usage: python -m examples [NAME ...] or --table FOLDER, where NAME is one of {', '.join(known)}")


if __name__ == "__main__":
    main()
