"""The tables of a run of onnx_files.py, which need nothing but the file: python bench/onnx_report.py FILE."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ORT, SESSION, LAYER, FROZEN, STREAM = "ONNX Runtime", "Session", "layer", "Frozen", "Stream"


def markdown(report: dict[str, Any]) -> str:
    """Return a report as text."""
    here, versions = report["machine"], report["versions"]
    lines = [
        f"{here['cpu']}, instruction set {here['isa']}, one thread; ONNX Runtime {versions['onnxruntime']}, "
        f"onnx {versions['onnx']}, NumPy {versions['numpy']}",
        "", "**Whole models**: the recurrent nodes on fastlstm's kernels, all others by `onnx.reference`", "",
        f"| file | recurrent nodes | largest relative difference | {ORT} ms | {SESSION} ms |",
        "| --- | --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    for row in report["models"]:
        ms = row["ms"]
        lines.append(
            f"| {row['file']} | {row['nodes']} | {row['difference']:.1e} | {ms[ORT]:.2f} | {ms[SESSION]:.2f} |"
        )
    lines += ["", "**Their recurrent layers alone**, one row, read with `nodes` and `Node.layer`", ""]
    times = " | ".join(f"{name} ms" for name in (ORT, LAYER, FROZEN))
    head = f"| of | layer | T I H | difference | {times} | {ORT} / {LAYER} | {ORT} / {FROZEN} |"
    lines += [head, "| --- | --- |" + " ---: |" * 7]
    for row in report["layers"]:
        times = " | ".join(f"{row['ms'][name]:.3f}" for name in (ORT, LAYER, FROZEN))
        ratios = " | ".join(f"{row['ratios'][name]['median']:.2f}" for name in (LAYER, FROZEN))
        shape = " ".join(map(str, row["shape"]))
        lines.append(f"| {row['file']} | {row['layer']} | {shape} | {row['difference']:.1e} | {times} | {ratios} |")
    row = report["stream"]
    lines += ["", f"**The LSTM of {row['file']}, step by step**, one row, with the state of the last step", ""]
    lines += ["| | microseconds a step |", "| --- | ---: |"]
    lines += [f"| {name} | {1e3 * ms / row['steps']:.1f} |" for name, ms in row["ms"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
