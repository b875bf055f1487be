from .estimate import generator_needs as generator_needs
from .estimate import make_plan as make_plan
from .gpu_benchmarks import FOLDER as FOLDER
from .gpu_benchmarks import find_benchmark as find_benchmark
from .records import Machines as Machines
from .records import Plan as Plan
