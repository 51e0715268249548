"""Network -> torch module, parameters, MACs, bytes."""
