"""The report of a single run: one page that needs no other file, no network and no script."""
