"""Sets of networks that integers stand for."""
