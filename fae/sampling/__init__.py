"""From noise to data: the transport path, solvers, guidance, and what a generator is conditioned on.

It imports `fae.rng`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
