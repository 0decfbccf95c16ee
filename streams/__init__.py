"""The Faust process that folds every change into the compacted state of its cart."""
