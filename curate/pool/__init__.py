"""The pool: its rows, which are duplicates, which are held out, and what became of each."""
