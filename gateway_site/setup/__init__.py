"""The setup guide: from nothing to the first request."""
