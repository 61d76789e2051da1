"""The LSTM, the GRU and the simple RNN as layers with parameters; streams, frozen weights, truncated BPTT."""
