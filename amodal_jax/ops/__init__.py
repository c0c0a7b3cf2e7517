"""Pure functions of arrays, without parameters, one operation per module."""
