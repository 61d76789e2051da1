"""The kernels of fastlstm for NVIDIA GPUs; `fastlstm.gpu` finds them."""
