"""Disentanglement metrics, one file each, found by file name. numpy only."""
