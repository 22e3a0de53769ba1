"""One file per kind of family; each registers what it reads."""
