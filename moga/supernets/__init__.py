"""Accuracy without training each network: one-shot supernets and tabular benchmarks.

    data.py        images, split: the bundled photographs or a folder
    choices.py     what a supernet can span; where accuracies can come from
    supernet.py    every network of a space in one module, sharing weights
    training.py    strictly fair training; the recipes
    evaluators.py  a network's accuracy is its path's
    cache.py       trained supernets, kept and found again
    statistics.py  do paths differ by more than chance?
    tabular.py     accuracies from a table

Nothing is imported here: torch loads with the module that uses it.
"""
