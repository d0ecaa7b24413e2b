"""The stages of the workflow: read stores, call the mathematics, write stores."""
