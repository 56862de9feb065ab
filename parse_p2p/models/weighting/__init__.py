"""How much each modality of a sample counts when a network predicts: a file for each way."""
