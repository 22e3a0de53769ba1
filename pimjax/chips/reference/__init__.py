"""The authors' simulator: exact on the event engine, and its fast models."""
