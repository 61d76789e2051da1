"""The benchmark suite: fastlstm against whichever of PyTorch, ONNX Runtime and OpenVINO are installed.

``python -m fastlstm.bench`` runs it. `shapes` has the sizes that are measured, `peers` the contestants, `measure` the
clock, and `suite` puts them together; `results` holds the figures, `report` and `plot` show them.
"""
