"""Training, run folders, evaluation, pictures and exports: what the commands call."""
