"""Tables as vectors: CSV, Parquet and h5ad files, their columns, how they are scaled."""
