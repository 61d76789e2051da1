/* The CUDA backend: a description of the devices, and the tables of kernels. */
#include "device/backend.h"
#include "device/cuda/context.h"

#include <stdio.h>

extern "C" const fl_kernels fl_kernels_cuda_32, fl_kernels_cuda_64, fl_kernels_cuda_bfloat16, fl_kernels_cuda_float16;

static const char *unavailable(void) {
    int count = 0, driver = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return NULL;
    (void)cudaGetLastError();
    if (cudaDriverGetVersion(&driver) == cudaSuccess && driver == 0) return "no NVIDIA driver is installed";
    return error == cudaSuccess || error == cudaErrorNoDevice ? "no GPU was found" : cudaGetErrorString(error);
}

static void describe(char *to, size_t bytes) {
    int count = 0, driver = 0;
    cudaDeviceProp first;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0 || cudaGetDeviceProperties(&first, 0) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess) {
        snprintf(to, bytes, "none");
        return;
    }
    snprintf(to, bytes, "%d x %s, compute capability %d.%d, driver for CUDA %d.%d, built with %d.%d", count, first.name,
             first.major, first.minor, driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
             CUDART_VERSION % 1000 / 10);
}

extern "C" const fl_backend fl_cuda = {
    sizeof(fl_kernels),
    "CUDA",
    {&fl_kernels_cuda_32, &fl_kernels_cuda_64, &fl_kernels_cuda_bfloat16, &fl_kernels_cuda_float16},
    unavailable,
    describe,
    fl_cuda_begin,
    fl_cuda_end,
    fl_cuda_used,
};
