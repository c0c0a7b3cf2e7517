"""Files: written whole or not at all, and read so that whatever is wrong with one is an error that names it."""
