"""What runs a block or a network on hardware, one file an engine."""
