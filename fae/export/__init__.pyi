from .assemble import assemble_pipeline as assemble_pipeline
from .assemble import export_pipeline as export_pipeline
from .card import CardFacts as CardFacts
from .card import model_card as model_card
from .pipeline_fae import FAEPipeline as FAEPipeline
