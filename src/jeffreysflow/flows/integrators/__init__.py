"""The discrete steps of a velocity, one file and one class each, found by the file's name
(`flows.integrator`)."""
