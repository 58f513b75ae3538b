"""How rows, pairs and samples are gone through; no user needs to open it."""
