"""Runs generated code in a sandbox that needs neither Docker nor root, and scores it by pass@k."""
