"""Recipes that select whole families of networks; one a file, each readable beside its paper."""
