"""Checkpoint folders of Hugging Face models: safetensors files, their index, and which tensor is which matrix.

The reader is our own: the library's NumPy side (safetensors 0.8) knows neither bfloat16 nor float8 and copies every
tensor, while a file that is mapped into memory is read where it is used, which is what a model larger than memory needs.
`tests/test_checkpoint_files.py` holds both together where the library is installed.
"""
