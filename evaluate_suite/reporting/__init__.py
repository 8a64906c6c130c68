"""`evalsuite report`: from finished runs to one page."""
