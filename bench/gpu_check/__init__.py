"""What this package costs and how true it is, on a machine with a GPU and no network.

``python -m bench.gpu_check --out FILE`` from the root of the source tree; README.md
beside this file says what it does and how to carry the wheels there.
"""
