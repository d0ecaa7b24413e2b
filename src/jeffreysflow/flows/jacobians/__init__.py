"""The estimators of a Jacobian determinant, one file and one class each, found by the file's name
(`flows.jacobian`)."""
