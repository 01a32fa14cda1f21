"""``srsenet prepare``: LMDBs and benchmark folders from HR images."""
