"""Predict the validation cases of a model under each simulated shift, and score them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tqdm import tqdm

from nnunet_ext.prediction.predictor import Predictor
from nnunet_ext.shifts.held_out import HeldOut
from nnunet_ext.shifts.shift import SHIFTS, Shift
from nnunet_ext.shifts.shift_scores import UNSHIFTED, Dices


def shift_test(
    held_out: HeldOut,
    predictor_of: Callable[[str], Predictor],
    *,
    done: Mapping[str, Mapping[str, Dices]] | None = None,
    shifts: Sequence[Shift] = SHIFTS,
    show_progress: bool = True,
) -> Iterator[tuple[str, dict[str, Dices]]]:
    """Yield each case with its Dice without and with each shift, as soon as it is predicted.

    Args:
        held_out: The cases.
        predictor_of: Returns the predictor of a fold.
        done: Cases that were predicted before, which are left out.
        shifts: The shifts.
        show_progress: Show a bar over predictions.

    Yields:
        Name of the case; by ``unshifted`` and name of the shift, the Dice of each class.

    Raises:
        UserError: A file is damaged, or a model cannot be used.
    """
    known = set(done or ())
    left = {fold: [case for case in cases if case.name not in known] for fold, cases in held_out.folds.items()}
    total = sum(map(len, left.values())) * (len(shifts) + 1)
    with tqdm(total=total, desc="shifts", unit="prediction", disable=not show_progress) as bar:
        for fold, cases in left.items():
            predictor = predictor_of(fold) if cases else None
            for case in cases:
                assert predictor is not None
                read = held_out.read(case)
                found: dict[str, Dices] = {}
                for shift in (None, *shifts):
                    image = read.image if shift is None else shift.of(read.image, read.spacing, case.name, read.limits)
                    labels = predictor.predict_array(image, read.spacing)
                    name = UNSHIFTED if shift is None else shift.name
                    found[name] = held_out.dices(labels, read, case.name)
                    bar.update()
                yield case.name, found
