"""What people look at: the report on a run, the page on which they judge it, and a run in a notebook."""
