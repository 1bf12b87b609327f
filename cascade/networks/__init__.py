"""The two networks of the cascade: previews become scores and instances, from model folders and in any engine."""
