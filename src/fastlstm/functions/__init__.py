"""The LSTM, the GRU and the simple RNN as functions: arrays in, arrays out."""
