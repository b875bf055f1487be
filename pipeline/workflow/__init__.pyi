from .demo import run_demo as run_demo
from .exporting import export as export
from .recipe_workflow import run_workflow as run_workflow
from .results import write_results as write_results
from .stage_runner import StageRunner as StageRunner
from .variants import metrics_of as metrics_of
from .variants import run_variants as run_variants
from .variants import with_variants as with_variants
