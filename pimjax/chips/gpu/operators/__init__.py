"""What kernels of a GPU take: one pure function per kind, on NumPy and JAX values alike."""
