"""The vocabulary of every other room: exposures, artifacts, errors, annotations, run lengths."""
