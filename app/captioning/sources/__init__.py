"""Where pictures come from: files, lists, tables, archives, data sets and URLs."""
