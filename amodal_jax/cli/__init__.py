"""What the commands share: how they fail, show progress and join other processes."""
