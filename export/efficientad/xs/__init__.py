"""XS: the form of EfficientAD for machines without a GPU. Knows nothing of the published sizes."""
