"""The cleaning checks: one file each; `table` names them."""
