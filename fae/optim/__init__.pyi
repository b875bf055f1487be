from .ema import EMA as EMA
from .optimizers import learning_rate as learning_rate
from .optimizers import load_optimizer_tensors as load_optimizer_tensors
from .optimizers import make_optimizer as make_optimizer
from .optimizers import optimizer_tensors as optimizer_tensors
