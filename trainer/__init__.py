"""Train, evaluate and export Korean sentence encoders in the sentence-transformers directory format."""
