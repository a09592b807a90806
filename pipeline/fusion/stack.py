"""A stack: several methods, each weighted by its own variance; errors of different methods are not the same errors.

The mean of unbiased predictions with the weights 1 / σ² has the least variance if their errors are independent
(Aitken 1935, Proc. R. Soc. Edinb. 55, 42–48). They are not, since all look at the same images: what is
published is the variance of the weighted mean with the correlation found at withheld images. The weights that have least variance
with this correlation (Bates & Granger 1969) were tried and are worse, shrunk or not. And a σ is itself not certain, above all where one
member says much less than the others: for the weights every variance is drawn halfway to the mean of all (benchmarks/tuning.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from pipeline.fusion.interface import DayPrediction, FusionInput, Method
from pipeline.fusion.options import StackOptions
from pipeline.fusion.withheld import withheld_images, without_missed_clouds
from pipeline.vocabulary import Provenance

_CORRELATION = 0.8
"""Of the errors of two methods before anything was learnt: they share most of what they look at."""

_BEST_FIRST = (
    Provenance.FUSED_TWO_SIDED,
    Provenance.FUSED_ONE_SIDED,
    Provenance.EXTRAPOLATED,
    Provenance.CLIMATOLOGY,
    Provenance.MISSING,
)


@dataclass(frozen=True)
class State:
    """A block ready for any number of targets.

    Parameters
    ----------
    states : tuple
        One of each member.
    scale : Tensor, (M, B, 1, 1) or (M, 1, 1, 1)
        True σ of the error of each member over the one it states.
    correlation : Tensor, (M, M, B, 1, 1) or (M, M, 1, 1, 1)
        Of the errors of the members.
    """

    states: tuple[Any, ...]
    scale: Tensor
    correlation: Tensor


class Stack:
    """The inverse-variance mean of registered methods."""

    def __init__(self, options: StackOptions) -> None:
        from pipeline.fusion.registry import build

        self.options = options
        self.members: dict[str, Method] = {name: build(name, chosen) for name, chosen in options.methods.items()}

    def estimate(self, samples: Sequence[FusionInput]) -> dict[str, Any]:
        """Let the members learn, then find at withheld images how large their errors are and how much they have in common."""
        learnt = {"members": {name: member.estimate(samples) for name, member in self.members.items()}}
        moments = None
        for sample in samples:
            state = self.prepare(sample, learnt, torch.device("cpu"))
            chosen = withheld_images(len(sample.fine_days))
            for index, days in zip(chosen, self._days(state, [sample.fine_days[index] for index in chosen]), strict=True):
                found = _moments(days, sample.fine[index])
                moments = found if moments is None else moments + found
        if moments is None or not bool((moments[0] > 0).all()):
            return learnt
        mean = moments[1:] / moments[0]
        products = mean.unflatten(0, (len(self.members), len(self.members)))
        scale = products.diagonal().T.clamp(min=1e-4).sqrt()
        correlation = (products / (scale[:, None] * scale[None, :])).clamp_(0.0, 1.0)
        return {**learnt, "scale": _rounded(scale), "correlation": _rounded(correlation)}

    def prepare(self, block: FusionInput, parameters: Mapping[str, Any], device: torch.device) -> State:
        known = parameters.get("members", {})
        count = len(self.members)
        scale = torch.tensor(parameters.get("scale", [[1.0]] * count), device=device)
        correlation = torch.tensor(parameters.get("correlation", [[[_CORRELATION]] * count] * count), device=device)
        states = tuple(member.prepare(block, known.get(name, {}), device) for name, member in self.members.items())
        return State(states, scale[..., None, None], correlation[..., None, None])

    def days(self, state: State, targets: Sequence[int]) -> Iterator[DayPrediction]:
        for days in self._days(state, targets):
            yield _merged(days, state)

    def _days(self, state: State, targets: Sequence[int]) -> Iterator[tuple[DayPrediction, ...]]:
        streams = [member.days(one, targets) for member, one in zip(self.members.values(), state.states, strict=True)]
        return zip(*streams, strict=True)


def _merged(days: Sequence[DayPrediction], state: State) -> DayPrediction:
    """The mean of the members' days that know a pixel."""
    errors = [day.std * scale for day, scale in zip(days, state.scale, strict=True)]
    usual = _mean_square(errors)
    total, weights = torch.zeros_like(days[0].mean), torch.zeros_like(days[0].mean)
    shares = []
    for day, error in zip(days, errors, strict=True):
        weight = torch.addcmul(usual, error, error).reciprocal_().nan_to_num_()
        weights += weight
        total.addcmul_(torch.nan_to_num(day.mean), weight)
        shares.append(weight.mul_(error.nan_to_num_()))
    variance = torch.zeros_like(total)
    for (one, share), (other, its) in combinations_with_replacement(enumerate(shares), 2):
        variance += (share * its).mul_(1.0 if one == other else 2.0 * state.correlation[one, other])
    # Where no member knows anything: 0 / 0.
    return DayPrediction(days[0].day, total.div_(weights), variance.sqrt_().div_(weights), _best_source([day.source for day in days]))


def _mean_square(errors: Sequence[Tensor]) -> Tensor:
    """Mean of the squares of those that are known; 0 / 0 where none is."""
    total, count = torch.zeros_like(errors[0]), torch.zeros_like(errors[0])
    for error in errors:
        total += error.square().nan_to_num_()
        count += torch.isfinite(error)
    return total.div_(count)


def _best_source(sources: Sequence[Tensor]) -> Tensor:
    """Of every pixel the provenance of the member that has most to go by."""
    best = torch.full_like(sources[0], int(Provenance.MISSING))
    for code in reversed(_BEST_FIRST):
        for source in sources:
            best.masked_fill_(source == int(code), int(code))
    return best


def _moments(days: Sequence[DayPrediction], truth: Tensor) -> Tensor:
    """(1 + M², B): count, and sums of the products of the errors of every two members over their σ.

    The noise of the truth is left in, as in `withheld_errors`.
    """
    errors = torch.stack([(day.mean - truth) / day.std for day in days])
    seen = torch.isfinite(errors).all(dim=1).all(dim=0)
    count = errors.new_full((1, len(truth)), int(seen.sum()), dtype=torch.float64)
    if not bool(seen.any()):
        return torch.cat([count, count.new_zeros((len(days) ** 2, len(truth)))])
    values = without_missed_clouds(errors[..., seen].double())
    products = torch.einsum("ibn,jbn->ijb", values, values)
    return torch.cat([count, products.flatten(0, 1)])


def _rounded(values: Tensor) -> Any:
    return (values * 1e4).round_().div_(1e4).tolist()
