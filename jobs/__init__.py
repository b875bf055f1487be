"""Where work runs: one function per unit of work, the Ray actors and training loops that call them."""
