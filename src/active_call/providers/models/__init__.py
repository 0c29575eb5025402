"""Downloaded speech models: the catalogue, the folders, the download."""
