"""labelme projects, written as KINS json."""
