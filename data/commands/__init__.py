"""What the command lines of several tools have in common."""
