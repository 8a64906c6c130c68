"""`evalsuite study`: strategies, draws and seeds, trained and compared."""
