"""Fakes for tests, shipped for authors of plug-ins: `moga.testing.fakes`."""
