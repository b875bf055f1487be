"""A folder that anybody with fae-pipe and diffusers can load: weights, configs, the card and the pipeline's file."""

import shutil
from pathlib import Path

from fae.export.pipeline_fae import FAEPipeline

# What diffusers' own loader looks for when it is given the folder as `custom_pipeline`.
PIPELINE_FILE = """\"\"\"The pipeline of this folder.\"\"\"

from fae.export import FAEPipeline

__all__ = ["FAEPipeline"]
"""


def export_pipeline(pipe: FAEPipeline, folder: Path, card: str) -> Path:
    """Write the pipeline and its card; the folder appears whole or not at all.

    Args:
        pipe: trained parts.
        folder: new or empty.
        card: README.md, as `fae.export.card.model_card` makes it.

    Raises:
        ValueError: the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: expected a new or empty folder to export to; it holds files. Choose another one")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    pipe.save_pretrained(temporary)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    (temporary / "pipeline.py").write_text(PIPELINE_FILE, encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    return temporary.rename(folder)
