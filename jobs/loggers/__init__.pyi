from .logger import Logger as Logger
from .logger import LoggerError as LoggerError
from .logger import check_logger as check_logger
from .logger import open_logger as open_logger
from .tracked_run import TrackedRun as TrackedRun
