"""The maps, one file and one class each, found by the file's name (`flows.map`)."""
