"""Pages and tables made at build time: from the schema, from docstrings, from the committed results."""
