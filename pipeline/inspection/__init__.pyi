from .doctor import Finding as Finding
from .doctor import examine as examine
from .look import inspect_data as inspect_data
from .write import write_inspection as write_inspection
