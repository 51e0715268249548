"""Hardware x engine x precision x batch: how long a network takes, and how we know.

- `base`: `Latency`, and the protocols `Device` and `Measures`.
- `host`: this machine's CPU. `table`: devices known only as tables. `catalog`: those that ship.
- `profile`: blocks and networks timed in shuffled rounds; latency tables and their error.
- `store`: timed values, kept by machine and block. `engines`: what runs a block.
"""
