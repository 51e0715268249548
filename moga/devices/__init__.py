"""Hardware x engine x precision x batch: how long a network takes, and how we know.

- `base`: `Latency`, and the protocols `Device` and `Measures`.
- `host`: this machine's processor and GPUs. `presets`: the papers' protocols. `evaluator`: latency
  measured during a search. `table`: devices known only as tables. `catalog`: those that ship.
- `timing`: blocks and networks timed in shuffled rounds. `profile`: latency tables and their error.
  `predict`: blocks that there was no time for. `isolated`: an engine in a process of its own.
- `blockfiles`: a space's blocks as ONNX files, to be timed elsewhere. `importers`: what other
  programs measured. `imported`: a table of it.
- `store`: timed values, kept by machine and block. `engines`: what runs a block.
"""
