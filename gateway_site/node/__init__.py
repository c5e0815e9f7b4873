"""One node: the processes and stores that `manage.py up` runs, and what it keeps on disk."""
