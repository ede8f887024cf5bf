"""The words of `sample.py` and what they answer."""
