"""What rows are written to: lines, tables, files beside pictures, and shards."""
