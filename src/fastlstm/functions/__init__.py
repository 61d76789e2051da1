"""The LSTM and the simple RNN as functions: arrays in, arrays out."""
