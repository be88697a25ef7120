"""Training methods, one file each, found by file name."""
