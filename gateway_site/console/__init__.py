"""The console's frame: its sidebar, its first page, its command palette. The pages of the objects are in `*/admin/`."""
