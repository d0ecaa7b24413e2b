"""How a swap is decided, one file and one class each, found by the name of the file."""
