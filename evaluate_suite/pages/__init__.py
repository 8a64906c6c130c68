"""Templates of the report pages."""
