"""The demonstration: a tiny real model, real FFI calls, kernels, memory."""
