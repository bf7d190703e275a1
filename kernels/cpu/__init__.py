"""C++ kernels for CPUs, compiled at first use for the instructions of the processor."""
