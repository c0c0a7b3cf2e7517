"""The commands that users type, each thin."""
