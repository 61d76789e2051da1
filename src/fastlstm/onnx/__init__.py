"""Networks from and to ONNX files, and whole ONNX models on the kernels of fastlstm."""
