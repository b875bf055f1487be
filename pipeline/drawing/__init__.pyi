from .figures import figure_bytes as figure_bytes
from .probe_plots import NAMES as NAMES
from .probe_plots import ProbePairs as ProbePairs
from .probe_plots import color_figure as color_figure
from .probe_plots import matching_figure as matching_figure
from .probe_plots import similarity_figure as similarity_figure
from .stats_plot import plot_stats as plot_stats
from .templates import page_template as page_template
