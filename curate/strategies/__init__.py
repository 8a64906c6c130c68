"""The strategies: one file each; `table` names them, `types` says what they are given and return."""
