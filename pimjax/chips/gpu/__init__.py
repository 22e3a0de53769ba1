"""A GPU: operators in sequence, each bound by its memory traffic, its arithmetic or its fixed cost."""
