"""Networks from files that Keras wrote."""
