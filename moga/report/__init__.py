"""How a run is shown: progress while it lasts, and one page when it is done."""
