"""Templates, being written."""
