"""Wiring: settings, the ASGI application, and the commands that start and check the whole."""

__version__ = "0.1.0"
