"""The models that training starts from: KoBERT and its kin, any encoder, a new one from a corpus."""
