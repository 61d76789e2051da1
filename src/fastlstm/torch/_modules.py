"""The modules: their arguments and parameters. `_recurrent.py` has what a call does."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import Parameter

from fastlstm._arrays import checks as check
from fastlstm._cells import lstm_cell
from fastlstm.torch._recurrent import Recurrent
from fastlstm.torch._stacks import beyond_pytorch, describe

__all__ = ["GRU", "LSTM", "RNN"]

_NO_PROJECTION = "proj_size argument is only supported for LSTM, not RNN or GRU"


class LSTM(Recurrent):
    """An LSTM in place of `torch.nn.LSTM`, with its arguments, attributes, parameters and results.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        As for `torch.nn.LSTM`, and in the same order.
    peephole : bool
        Whether the gates see the cell; it has parameters ``weight_ch_l0`` (3, H) then, for i, f and o, without those
        that the variant lacks.
    variant : str
        As for `fastlstm.LSTM`, but for FGR: vanilla, NIG, NFG, NOG, NIAF, NOAF, NP or CIFG. ``weight_ih_l0`` and others
        have no rows for a gate that it lacks.
    layer_norm : bool
        Whether the products and the cell are normalised, as for `fastlstm.LSTM`; it has parameters ``weight_ln_l0``
        (2n + 2, H) then, with n gates.

    Raises
    ------
    TypeError, ValueError
        As `torch.nn.LSTM` does; if one of the last three is not as it says.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> lstm = fastlstm.torch.LSTM(3, 8, num_layers=2)
    >>> y, (h, c) = lstm(torch.zeros(20, 4, 3))
    >>> y.sum().backward()
    >>> y.shape, lstm.weight_ih_l0.grad.shape
    (torch.Size([20, 4, 8]), torch.Size([32, 3]))
    >>> list(lstm.state_dict()) == list(torch.nn.LSTM(3, 8, num_layers=2).state_dict())
    True
    """

    __module__ = "fastlstm.torch"
    _pytorch = torch.nn.LSTM
    _parts = 2
    check_forward_args = torch.nn.LSTM.check_forward_args  # type: ignore[assignment]
    get_expected_cell_size = torch.nn.LSTM.get_expected_cell_size
    permute_hidden = torch.nn.LSTM.permute_hidden  # type: ignore[assignment]

    def __init__(
        self, *args: Any, peephole: bool = False, variant: str = "vanilla", layer_norm: bool = False, **kwargs: Any
    ) -> None:
        peephole, layer_norm = check.flag("peephole", peephole), check.flag("layer_norm", layer_norm)
        cell = lstm_cell(variant, layer_norm=layer_norm)
        if cell.variant == "FGR":
            raise ValueError("variant must not be FGR, whose state has a third part: it is in fastlstm.LSTM alone")
        if cell.variant == "NP" and peephole:
            raise ValueError("peephole must be False with variant NP, which has no peepholes")
        super().__init__("LSTM", *args, **kwargs)
        if peephole or layer_norm or cell.variant != "vanilla":
            self.variant, self.peephole, self.layer_norm = cell.variant, peephole, layer_norm
            if beyond_pytorch(self._options()):
                self._add_parameters()
                self.reset_parameters()

    def _add_parameters(self) -> None:
        """Replace the parameters by those that the options ask for."""
        factory = {"device": self._flat_weights[0].device, "dtype": self._flat_weights[0].dtype}  # type: ignore[union-attr]
        shapes = iter(describe(*self._fields()).weight_shapes)
        names: list[str] = []
        for own in self._all_weights:
            end = own[0].removeprefix("weight_ih")
            own += [f"weight_ch{end}"] * self.peephole + [f"weight_ln{end}"] * self.layer_norm
            names += own
            for name in own:
                setattr(self, name, Parameter(torch.empty(next(shapes), **factory)))
        self._flat_weights_names = names
        self._init_flat_weights()

    def flatten_parameters(self) -> None:
        """Lay out the parameters for cuDNN as PyTorch's LSTM does; with options of ours, leave them as they are."""
        if not beyond_pytorch(self._options()):
            super().flatten_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters from the uniform distribution in ±1 / sqrt(H); of layer normalisation, set gains to 1."""
        super().reset_parameters()
        if self.layer_norm:
            for name, weight in self.named_parameters():
                if name.startswith("weight_ln"):
                    torch.nn.init.ones_(weight)
                    torch.nn.init.zeros_(weight[-1])

    def extra_repr(self) -> str:
        """Return the arguments that are not as usual."""
        named = {"peephole": self.peephole, "variant": self.variant, "layer_norm": self.layer_norm}
        return super().extra_repr() + "".join(
            f", {name}={value!r}" for name, value in named.items() if value not in (False, "vanilla")
        )


class GRU(Recurrent):
    """A GRU in place of `torch.nn.GRU`, with its arguments, attributes, parameters and results.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> gru = fastlstm.torch.GRU(3, 8, batch_first=True)
    >>> y, h = gru(torch.zeros(4, 20, 3))
    >>> y.shape, h.shape
    (torch.Size([4, 20, 8]), torch.Size([1, 4, 8]))
    """

    __module__ = "fastlstm.torch"
    _pytorch = torch.nn.GRU
    _parts = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError(_NO_PROJECTION)
        super().__init__("GRU", *args, **kwargs)
        if self.proj_size:  # given at its place
            raise ValueError(_NO_PROJECTION)


class RNN(Recurrent):
    """A simple RNN in place of `torch.nn.RNN`, with its arguments, attributes, parameters and results.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> rnn = fastlstm.torch.RNN(3, 8, nonlinearity="relu")
    >>> y, h = rnn(torch.zeros(20, 4, 3))
    >>> y.shape, h.shape
    (torch.Size([20, 4, 8]), torch.Size([1, 4, 8]))
    """

    __module__ = "fastlstm.torch"
    _pytorch = torch.nn.RNN
    _parts = 1
    nonlinearity: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError(_NO_PROJECTION)
        given = list(args)
        nonlinearity = given.pop(3) if len(given) > 3 else kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *given, **kwargs)
        if self.proj_size:
            raise ValueError(_NO_PROJECTION)
        self.nonlinearity = nonlinearity
