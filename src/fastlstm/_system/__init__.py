"""The machine: kernels for its instruction sets and devices, processors, threads, the floating-point mode."""
