"""What a trained model is worth: held-out scores, fidelity, codes, clusters, Parzen."""
