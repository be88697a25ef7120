"""Disentanglement metrics, one file each, found by file name. No torch in here.

A metric is a module with

- `SCORES`, the keys that it reports;
- `score(table, rng, protocol) -> Result`, with one number for each key. It draws its points from
  `rng`, which is fresh, and raises UndefinedError where these codes have no such score, or names
  in the result which of several they lack;
- where noise passes for signal, `NEEDS_BASELINE = True`: its level of chance is then reported.

What it is given, gives back and draws points with is in `didcli.scoring`. Files whose name starts
with `_` are parts of the metrics here, for no one else. New metrics need no other edit.
"""
