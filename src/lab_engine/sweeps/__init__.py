"""How many jobs run: launching, resuming, searching, reporting."""
