"""What people look at: the report on a run and the page on which they judge it."""
