"""The PyTorch classifier behind the scikit-learn interface. The only room that imports torch."""
