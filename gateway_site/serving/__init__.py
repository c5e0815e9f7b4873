"""A web process, and what every answer of the data plane goes through on its way out."""
