"""What runs inside the sandbox: standard library only, imported as `cell` there; nothing here imports the rest of Rowpick."""
