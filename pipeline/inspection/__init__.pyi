from .look import inspect_data as inspect_data
from .write import write_inspection as write_inspection
