"""What ``srsenet prepare`` does: LMDBs and benchmark folders from HR images."""
