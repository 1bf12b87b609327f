"""Places for files: a folder on disk or a prefix of an object store, where a file appears whole or not at all."""
