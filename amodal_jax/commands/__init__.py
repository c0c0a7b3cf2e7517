"""What `amodal-jax` does, one file a command; each is also a script of a checkout."""
