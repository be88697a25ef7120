"""Offline renderers of procedural datasets, in numpy."""
