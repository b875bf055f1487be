from .generator import GeneratorContract as GeneratorContract
