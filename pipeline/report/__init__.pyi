from .gallery import ReportOptions as ReportOptions
from .write import write_report as write_report
