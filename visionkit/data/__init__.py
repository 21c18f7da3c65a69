"""From files to batches: readers, the packed index, augmentation, collation and loaders."""
