"""The subcommands, one file each: options -> one engine call -> print. No torch at import time."""
