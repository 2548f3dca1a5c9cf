"""Older interfaces (`graphkeras.legacy`)."""
