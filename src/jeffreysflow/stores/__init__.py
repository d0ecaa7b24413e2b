"""Files and Zarr stores. Nothing else in the package reads or writes files."""
