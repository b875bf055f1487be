from .gallery import ReportOptions as ReportOptions
from .page import Section as Section
from .page import page_table as page_table
from .page import render_page as render_page
from .write import write_lineage_image as write_lineage_image
from .write import write_report as write_report
