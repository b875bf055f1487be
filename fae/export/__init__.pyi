from .card import CardFacts as CardFacts
from .card import model_card as model_card
from .folder import export_pipeline as export_pipeline
from .pipeline_fae import FAEPipeline as FAEPipeline
