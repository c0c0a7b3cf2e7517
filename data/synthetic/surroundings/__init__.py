"""What stands and lies around the objects of a scene: the background, buildings, clutter."""
