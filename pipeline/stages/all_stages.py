"""The list of stages that `run`, `plan`, `status` and `report` share."""

from typing import Any

from pipeline.stages.base import Stage
from pipeline.stages.encode import Encode
from pipeline.stages.extract import Extract
from pipeline.stages.extract_text import ExtractText
from pipeline.stages.sample import Sample
from pipeline.stages.train_ae import TrainAutoencoder
from pipeline.stages.train_decoder import TrainDecoder
from pipeline.stages.train_gen import TrainGenerator

EXTRACT = Extract()
TRAIN_AE = TrainAutoencoder()
TRAIN_DECODER = TrainDecoder()
ENCODE = Encode()
EXTRACT_TEXT = ExtractText()
TRAIN_GEN = TrainGenerator()
SAMPLE = Sample()
# In the order in which a recipe runs them.
STAGES: tuple[Stage[Any], ...] = (EXTRACT, TRAIN_AE, TRAIN_DECODER, ENCODE, EXTRACT_TEXT, TRAIN_GEN, SAMPLE)
