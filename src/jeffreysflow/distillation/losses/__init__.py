"""The losses, one file and one class each, found by the file's name (`distillation.loss`)."""
