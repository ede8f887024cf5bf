"""Where examples come from, checked, and which of them a step sees."""

from aaejax.data.datasets import Dataset, from_arrays, from_source
from aaejax.data.sources import from_table, load
from aaejax.types import Source

__all__ = ["Dataset", "Source", "from_arrays", "from_source", "from_table", "load"]
