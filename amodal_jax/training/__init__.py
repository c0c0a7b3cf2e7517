"""The parts of the training loop in `amodal_jax.train`."""
