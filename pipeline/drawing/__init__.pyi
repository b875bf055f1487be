from .captioned_grid import sample_grid as sample_grid
from .probe_plots import NAMES as NAMES
from .probe_plots import Shown as Shown
from .probe_plots import color_figure as color_figure
from .probe_plots import matching_figure as matching_figure
from .probe_plots import similarity_figure as similarity_figure
from .stats_plot import survey_plot as survey_plot
from .templates import page_template as page_template
