"""HTTP transfers that survive cuts, lies and refusals; `didcli.io.download` is the way in."""
