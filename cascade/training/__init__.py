"""Training the networks on annotated exposures."""
