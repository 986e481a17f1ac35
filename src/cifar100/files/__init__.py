"""Files and the processes that share them: atomic writing, bounded reading of regular files, locks."""
