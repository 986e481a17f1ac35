"""The layouts in which people keep labelled images: class folders, CSV tables, parquet files, arrays."""
