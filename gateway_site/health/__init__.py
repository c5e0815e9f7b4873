"""The gateway's state, for machines and people: what is gathered, what follows from it, and the endpoints that say it."""
