"""pimjax: area, latency, energy and accuracy of Mixture-of-Experts transformers on analog in-memory-computing chips."""

__version__ = "0.1.0"
