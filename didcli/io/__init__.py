"""Downloads, image files and terminal pictures."""
