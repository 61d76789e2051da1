"""The benchmark suite: fastlstm against whichever of PyTorch and ONNX Runtime are installed, on this machine.

``python -m fastlstm.bench`` runs it. `shapes` says what is measured, `peers` how each contestant is used, `measure` how
time is taken, `suite` puts them together; `results` holds the figures, `report` and `plot` show them.
"""
