"""Studies: commands for people that train, evaluate and draw, each with its own module."""
