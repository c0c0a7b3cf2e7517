"""How other frameworks name and store a network's weights, one framework per module."""
