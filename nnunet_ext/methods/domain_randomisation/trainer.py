"""nnU-Net's trainer with randomised images or features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from nnunet_ext.base.trainer import ExtTrainer
from nnunet_ext.data.folds import FILE, case_sites
from nnunet_ext.errors import UserError
from nnunet_ext.methods.domain_randomisation.card import NEED_A_PARTNER
from nnunet_ext.methods.domain_randomisation.features import RandomFeatures
from nnunet_ext.methods.domain_randomisation.images import RandomImages
from nnunet_ext.processes.ranks import Ranks
from nnunet_ext.seeding.seeds import Purpose, seed_sequence

STAGES = {"trid": (0, 1), "mixstyle": (0, 1), "efdmix": (1,)}
STATE = "domain_randomisation"  # key of its state in the trainer's own part of a checkpoint


class DomainRandomisationTrainer(ExtTrainer):
    """Stock nnU-Net whose training images look as if they came from other scanners, for models that must bear that.

    Images are changed by GIN [0] or by a random histogram, features of the encoder by TriD [1], EFDMix [2] or MixStyle
    [3], in train mode alone, by hooks that hold no weights: network, checkpoint and prediction are stock nnU-Net's.

    Knobs (plans block ``nnunet_ext.domain_randomisation``): ``image``, ``features``, ``p``, ``inversion``, ``stages``,
    ``skip``, ``partners``, ``range``.

    Differences from the authors, and why:

    * A coin for each sample; theirs is for the whole batch, of which half would then see nothing new in half of the
      steps.
    * GIN does not mix channels, which are different sequences in MR.
    * TriD's means and standard deviations come from the range that the channels have; U(0, 1) fits features after batch
      norm and ReLU. It has no Beta distribution: with a lambda for each coin, the coins are fair whatever it is.
    * MixStyle and EFDMix never take a sample itself as its partner; the partner of EFDMix passes no gradient on.

    Random numbers are its own: without a change that is drawn (``p=0``), a training is the control's, bit for bit.

    Raises:
        UserError: Features are to be mixed in batches of one sample, or between sites that the folds do not have; the
            network has no such stages.

    [0] Ouyang et al., TMI 2023, https://arxiv.org/abs/2111.12525
    [1] Chen et al., MICCAI 2023, https://arxiv.org/abs/2305.19949
    [2] Zhang et al., CVPR 2022, https://arxiv.org/abs/2203.07740
    [3] Zhou et al., ICLR 2021, https://arxiv.org/abs/2104.02008
    """

    method: ClassVar = "domain_randomisation"

    _changes: tuple[RandomImages | RandomFeatures, ...] = ()
    _sites: Mapping[str, str] | None = None  # by case, if partners are from other sites
    _ranges: tuple[list[list[Tensor]], ...] = ()  # of each rank, for each place, as an epoch ends

    def initialize(self) -> None:
        """Build as stock does; then images and features are changed in train mode."""
        super().initialize()
        knobs = self.knobs[self.method]
        if knobs["p"] == 0 or (knobs["image"], knobs["features"]) == ("none", "none"):
            self.print_to_log_file("Domain randomisation: nothing is changed (image, features and p say so)")
            return
        generator = np.random.default_rng() if self.knobs["seed"] is None else self._new_generator()
        if knobs["image"] != "none":
            images = RandomImages(knobs, self.configuration_manager.use_mask_for_norm, generator)
            network = self.network.module if self.is_ddp else self.network  # outside of what torch.compile compiles
            network.register_forward_pre_hook(images.before)
            self._changes = (images,)
        if knobs["features"] != "none":
            self._changes += self._change_features(generator)
            if self._do_i_compile():
                self.print_to_log_file(
                    "Domain randomisation: torch.compile stops at changed features, which are not compiled"
                )

    def _change_features(self, generator: np.random.Generator) -> tuple[RandomFeatures, ...]:
        """Let hooks change the features of the encoder's stages."""
        knobs, changes = self.knobs[self.method], []
        kind, skip = knobs["features"], knobs["skip"]
        if kind in NEED_A_PARTNER and self.batch_size < 2:
            raise UserError(
                f"knob domain_randomisation.features={kind}: expected batches of at least 2 samples on each GPU, which "
                f"are mixed, got {self.batch_size}. Train on fewer GPUs, plan a larger batch, or use trid."
            )
        if kind in NEED_A_PARTNER and knobs["partners"] == "other_site":
            self._sites = self._sites_of_cases()
        stages: Any = getattr(getattr(self.bare_network, "encoder", None), "stages", None)
        if not isinstance(stages, nn.Sequential):
            raise UserError(
                f"knob domain_randomisation.features={kind}: expected a U-Net of nnU-Net, whose encoder has stages, "
                f"found {type(self.bare_network).__name__}. Set it to none."
            )
        for number in knobs["stages"] or STAGES[kind]:
            if number + (not skip) >= len(stages):
                raise UserError(
                    f"knob domain_randomisation.stages: expected stages below {len(stages) - (not skip)}"
                    f"{'' if skip else ', after which the encoder has another one'}, got {number}. Correct it."
                )
            change = RandomFeatures(knobs, generator)
            if skip:
                stages[number].register_forward_hook(change.after)
            else:
                stages[number + 1].register_forward_pre_hook(change.before)
            changes.append(change)
        return tuple(changes)

    def _sites_of_cases(self) -> dict[str, str]:
        """Return the site of each training case."""
        folder = Path(self.preprocessed_dataset_folder_base)
        sites, train = case_sites(folder), self.do_split()[0]
        if not set(train) <= set(sites) or len({sites[case] for case in train}) < 2:
            raise UserError(
                f"{folder / FILE}: expected the sites of all training cases, and at least two of them, for the knob "
                f"domain_randomisation.partners=other_site, found others. Run nnunet_ext leave_one_site_out, or set it "
                f"to any."
            )
        return sites

    def train_step(self, batch: dict) -> dict:
        """Stock step; features may be mixed between sites."""
        if self._sites is not None:
            for change in self._changes:
                if isinstance(change, RandomFeatures):
                    change.sites = [self._sites[str(case)] for case in batch["keys"]]
        return super().train_step(batch)

    def on_train_epoch_start(self) -> None:
        """Start the epoch as stock does; with a seed, what is changed depends on seed, rank and step."""
        super().on_train_epoch_start()
        if self.knobs["seed"] is not None:
            generator = self._new_generator()
            for change in self._changes:
                change.generator = generator

    def _new_generator(self) -> np.random.Generator:
        purpose, rank = Purpose.RANDOMISATION, Ranks.now().rank
        return np.random.default_rng(seed_sequence(self.knobs["seed"], rank, purpose, self.current_epoch))

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Finish the epoch as stock does, and collect what TriD has seen on each rank."""
        super().on_train_epoch_end(train_outputs)
        self._ranges = tuple(Ranks.now().gather(self._own_ranges()))

    def _own_ranges(self) -> list[list[Tensor]]:
        return [change.range.state() for change in self._changes if isinstance(change, RandomFeatures)]

    def extra_state(self) -> dict[str, Any]:
        """Return the styles of the last steps of each rank, from which TriD draws."""
        state = super().extra_state()
        return state | {STATE: list(self._ranges)} if any(map(any, self._ranges)) else state

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the styles; without them TriD begins with those of the next step."""
        super().load_extra_state(state)
        self._ranges = tuple(state.get(STATE, ()))
        changes = [change for change in self._changes if isinstance(change, RandomFeatures)]
        own = self._ranges[Ranks.now().rank % len(self._ranges)] if self._ranges else [[]] * len(changes)
        for change, seen in zip(changes, own, strict=True):
            change.range.load_state(seen)
