"""Whether a rule is taken for a structure: chosen on some folds, tested on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnunet_ext.challenges.postprocessing.gain import SMALLEST, gain
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.postprocessing.scored_variants import Rules
from nnunet_ext.challenges.scored_case import Values

Scores = Mapping[str, Mapping[Rules, Values]]  # by case


@dataclass(frozen=True)
class Decision:
    """What was found for a structure.

    Args:
        structure: Its name.
        rule: The rule that gains most on all cases; None: none gains.
        all_cases: Its gain there.
        fold_rules: By fold the rule that gains most on the cases of the others.
        fold_gains: By fold the gain of that rule on the fold's own cases; None: no metric is counted there.
        held_out: The gain on all cases, of which each is treated with the rule that was chosen without its fold.
    """

    structure: str
    rule: Rule | None
    all_cases: float
    fold_rules: Mapping[str, Rule | None]
    fold_gains: Mapping[str, float | None]
    held_out: float | None

    @property
    def taken(self) -> bool:
        """Whether the rule also gains on cases that it was not chosen by."""
        return self.rule is not None and self.held_out is not None and self.held_out > SMALLEST


@dataclass(frozen=True)
class FoldScores:
    """The numbers of all cases after the rules that are tried.

    Args:
        folds: Names of the cases by fold.
        scores: The numbers by case and sequence of rules.
        scales: What differences of each column are divided by.
    """

    folds: Mapping[str, Sequence[str]]
    scores: Scores
    scales: Mapping[str, float]

    def decide(
        self, structure: str, rules: Sequence[Rule], columns: Sequence[str], before: Mapping[str, Rules], final: Rules
    ) -> Decision:
        """Choose one of some rules for a structure, or none.

        Args:
            structure: Its name.
            rules: Those that are tried; of equal ones the first is chosen.
            columns: The columns that they can change.
            before: By fold the rules that were chosen before without it.
            final: Those that were taken before.
        """
        every = [case for cases in self.folds.values() for case in cases]
        rule, all_cases = self._best(rules, columns, final, every)
        chosen, after = {}, dict(before)
        for fold, own in self.folds.items():
            others = [case for case in every if case not in set(own)]
            chosen[fold], _ = self._best(rules, columns, before[fold], others)
            if (choice := chosen[fold]) is not None:
                after[fold] = (*before[fold], choice)
        gains = {fold: self.gain(columns, before, after, [fold]) for fold in self.folds}
        return Decision(structure, rule, all_cases, chosen, gains, self.gain(columns, before, after, [*self.folds]))

    def gain(
        self, columns: Sequence[str], before: Mapping[str, Rules], after: Mapping[str, Rules], folds: Sequence[str]
    ) -> float | None:
        """Return the gain over the cases of some folds, each treated with the rules of its fold."""
        first, second = (
            [self.scores[case][rules[fold]] for fold in folds for case in self.folds[fold]] for rules in (before, after)
        )
        return gain(columns, first, second, self.scales)

    def _best(
        self, rules: Sequence[Rule], columns: Sequence[str], before: Rules, cases: Sequence[str]
    ) -> tuple[Rule | None, float]:
        best: tuple[Rule | None, float] = (None, 0.0)
        first = [self.scores[case][before] for case in cases]
        for rule in rules:
            found = gain(columns, first, [self.scores[case][(*before, rule)] for case in cases], self.scales)
            if found is not None and found > best[1] + SMALLEST:
                best = (rule, found)
        return best
