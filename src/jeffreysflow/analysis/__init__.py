"""What stages make of stored samples and tables: sums, averages, curves, planes, rows."""
