"""The decoders of public Mixture-of-Experts models as pure functions over the weights of one layer, and a Flax module."""
