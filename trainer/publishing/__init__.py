"""A trained model as the model directory that the encoder service runs."""
