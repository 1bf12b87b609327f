"""The two networks of the cascade, from model folders to inference on previews in any engine."""
