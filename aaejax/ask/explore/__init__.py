"""`sample.py RUN explore`: a page in the browser to look at codes and what decodes."""
