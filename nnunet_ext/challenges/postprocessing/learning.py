"""Learn rules by a challenge's metric, tested on cases that they were not chosen by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from nnunet_ext.challenges.challenge import READER, Challenge
from nnunet_ext.challenges.matched_cases import MatchedCase
from nnunet_ext.challenges.postprocessing.candidates import Candidates, candidates
from nnunet_ext.challenges.postprocessing.case_components import case_components
from nnunet_ext.challenges.postprocessing.decision import Decision, FoldScores
from nnunet_ext.challenges.postprocessing.fold_cases import fold_cases
from nnunet_ext.challenges.postprocessing.gain import gain, mean_of, scales_of
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.challenges.postprocessing.scored_variants import Rules, score_variants, sharing
from nnunet_ext.challenges.scored_case import Values
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.errors import UserError
from nnunet_ext.processes.workers import Workers

if TYPE_CHECKING:
    from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

Result = TypeVar("Result")
NONE: Rules = ()


@dataclass(frozen=True)
class Learned:
    """Rules, and what they gain.

    Args:
        challenge: Whose metric it is.
        folds: Names of the cases by fold.
        decisions: In the order in which rules are applied.
        before: Means over cases by column, without rules.
        held_out: Means over cases, of which each is treated with rules that were chosen without its fold.
        after: Means over cases with the final rules, which were chosen by these cases.
        scales: What differences of each column are divided by.
    """

    challenge: Challenge
    folds: Mapping[str, Sequence[str]]
    decisions: Sequence[Decision]
    before: Values
    held_out: Values
    after: Values
    scales: Mapping[str, float]

    @property
    def rules(self) -> Rules:
        """The rules that were taken."""
        return tuple(each.rule for each in self.decisions if each.taken and each.rule is not None)

    def total_gain(self, means: Values) -> float | None:
        """Return the gain over all columns of the challenge from :attr:`before` to other means."""
        return gain(self.challenge.columns, [self.before], [means], self.scales)


def learn(
    challenge: Challenge,
    predictions: Path,
    references: Path,
    *,
    parts: int = 5,
    processes: int = 1,
    show_progress: bool = True,
) -> Learned:
    """Learn rules from predictions of cases that the model was not trained on.

    Structure by structure, the larger ones first, the rule that gains most is chosen on all folds but one and tested on
    that one. If these tests gain in the mean, the rule that gains most on all folds is taken, and rules of another kind
    are tried on top.

    Args:
        challenge: Whose metric decides: the mean gain over the columns that a rule can change.
        predictions: The folder of a trained model with ``fold_0/validation`` and so on, or a folder of label maps.
        references: Folder; references without a prediction are left out.
        parts: Into how many parts cases are shared if there are no folds.
        processes: Worker processes; each has one case in memory.
        show_progress: Show a progress bar for each pass over the cases.

    Raises:
        UserError: There are fewer than two cases, or a file is damaged, lies on another grid or holds unknown labels.

    Example:
        >>> from pathlib import Path
        >>> from nnunet_ext.challenges.kits21 import kits21
        >>> learn(kits21(), Path("model"), Path("kits21/data")).rules  # doctest: +SKIP
    """
    folds = fold_cases(challenge, predictions, references, parts)
    with Workers(min(processes, sum(map(len, folds.values())))) as workers:
        try:
            return _Learning(challenge, folds, workers, show_progress).run()
        except BrokenProcessPool as error:
            raise UserError(
                f"{predictions}: expected to measure with {processes} processes, one was killed: there is probably too "
                f"little memory. Run it again with -np 1."
            ) from error


@dataclass
class _Learning:
    challenge: Challenge
    cases: Mapping[str, Sequence[MatchedCase]]
    workers: Workers
    show_progress: bool
    decisions: list[Decision] = field(default_factory=list)

    def run(self) -> Learned:
        challenge = self.challenge
        components = dict(self._each(case_components, "components"))
        found = candidates(challenge.structures, [components[name] for name in sorted(components)])
        base = self._scores({NONE: []}, "without rules")
        scales = scales_of(challenge, [scores[NONE] for scores in base.values()])
        before, final = dict.fromkeys(self.folds, NONE), NONE
        levels = sorted({each.level for each in found})
        for level in levels:
            left = {each.structure.name: each for each in found if each.level == level}
            while left:
                rules = [rule for each in left.values() for rule in each.rules]
                scores = self._scores(
                    dict.fromkeys([*before.values(), final], rules), f"level {level + 1} of {len(levels)}"
                )
                made = [
                    FoldScores(self.folds, scores, scales).decide(
                        each.structure.name, each.rules, self._columns(each), before, final
                    )
                    for each in left.values()
                ]
                for decision in made:
                    before, final = _with(decision, before, final)
                known = {decision.structure for decision in self.decisions}
                self.decisions += [each for each in made if each.rule is not None or each.structure not in known]
                left = _other_kinds(left, made)
        last = self._scores(dict.fromkeys([NONE, *before.values(), final], ()), "all rules") if final else base
        return Learned(
            challenge,
            self.folds,
            self.decisions,
            self._means([scores[NONE] for scores in last.values()]),
            self._means([last[case][before[fold]] for fold, cases in self.folds.items() for case in cases]),
            self._means([scores[final] for scores in last.values()]),
            scales,
        )

    @cached_property
    def folds(self) -> dict[str, list[str]]:
        return {fold: [case.name for case in cases] for fold, cases in self.cases.items()}

    @cached_property
    def _reader(self) -> BaseReaderWriter:
        chosen = {} if self.challenge.reader is None else {READER: self.challenge.reader}
        first = next(iter(self.cases.values()))[0]
        return find_reader({"file_ending": self.challenge.ending} | chosen, self.challenge.example(first.reference))

    def _columns(self, tried: Candidates) -> list[str]:
        changed = sharing(tried.structure.labels, self.challenge.structures)
        return [measure.column for structure in changed for measure in structure.measures]

    def _scores(self, tried: Mapping[Rules, Sequence[Rule]], title: str) -> dict[str, dict[Rules, Values]]:
        return dict(self._each(partial(score_variants, tried=tried), title))

    def _each(self, function: Callable[..., Result], title: str) -> list[Result]:
        cases = [case for each in self.cases.values() for case in each]
        call = partial(function, challenge=self.challenge, reader=self._reader)
        done = self.workers.each(call, cases)
        return list(tqdm(done, title, len(cases), unit="case", disable=not self.show_progress))

    def _means(self, cases: Sequence[Values]) -> Values:
        return {column: mean_of(column, cases) for column in self.challenge.columns}


def _with(decision: Decision, before: Mapping[str, Rules], final: Rules) -> tuple[dict[str, Rules], Rules]:
    """The rules of each fold, and the final ones, after a decision."""
    if not decision.taken or decision.rule is None:
        return dict(before), final
    longer = {
        fold: rules if (rule := decision.fold_rules[fold]) is None else (*rules, rule) for fold, rules in before.items()
    }
    return longer, (*final, decision.rule)


def _other_kinds(tried: Mapping[str, Candidates], made: Sequence[Decision]) -> dict[str, Candidates]:
    """What is tried on top of the rules that were taken."""
    found = {}
    for decision in made:
        own = tried[decision.structure]
        kind = decision.rule.kind if decision.taken and decision.rule is not None else None
        rules = tuple(rule for rule in own.rules if rule.kind != kind)
        if kind is not None and rules:
            found[decision.structure] = Candidates(own.structure, rules, own.level)
    return found
