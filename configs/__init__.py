"""Experiments, one module each, with ``get_config()`` returning an ``amodal_jax.config.Config``."""
