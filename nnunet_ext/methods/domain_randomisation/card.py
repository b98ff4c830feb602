"""The card of domain randomisation."""

from typing import Any

from nnunet_ext.base.method import Knob, Method, distinct, integer, number, one_of, optional

RUNNING = "running"
NEED_A_PARTNER = ("efdmix", "mixstyle")
SHARE = "a number from 0 to 1"


def _is_share(value: Any) -> bool:
    return number(0)(value) and value <= 1


def _is_range(value: Any) -> bool:
    two = isinstance(value, list) and len(value) == 2 and all(map(number(0), value))
    return value == RUNNING or (two and value[0] < value[1])


CARD = Method(
    key="domain_randomisation",
    title="Domain randomisation",
    summary="Training images or features look as if they came from other scanners; prediction is stock nnU-Net's",
    papers=(
        "Ouyang et al., Causality-inspired single-source domain generalization (GIN), TMI 2023, "
        "https://arxiv.org/abs/2111.12525",
        "Chen et al., Treasure in distribution (TriD), MICCAI 2023, https://arxiv.org/abs/2305.19949",
        "Zhang et al., Exact feature distribution matching (EFDMix), CVPR 2022, https://arxiv.org/abs/2203.07740",
        "Zhou et al., Domain generalization with MixStyle, ICLR 2021, https://arxiv.org/abs/2104.02008",
    ),
    trainers=("DomainRandomisationTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "regions", "ignore label"),
    knobs=(
        Knob(
            "image",
            "gin",
            "what changes images, after nnU-Net's augmentation; gin: random convolutions; histogram: a random "
            "piecewise linear map of the intensities",
            one_of("none", "gin", "histogram"),
            "'none', 'gin' or 'histogram'",
        ),
        Knob(
            "features",
            "none",
            "what changes the encoder's features; trid: random means and standard deviations of channels; efdmix: "
            "another sample's distribution; mixstyle: its means and standard deviations",
            one_of("none", "trid", "efdmix", "mixstyle"),
            "'none', 'trid', 'efdmix' or 'mixstyle'",
        ),
        Knob(
            "p",
            0.5,
            "probability with which a sample is changed, drawn for the image and each stage separately; 0: nothing is",
            _is_share,
            SHARE,
        ),
        Knob(
            "inversion",
            0.1,
            "with image=histogram: probability with which a channel's map falls instead of rising",
            _is_share,
            SHARE,
        ),
        Knob(
            "stages",
            None,
            "encoder stages whose features are changed, 0 is that of full resolution; null: 0 and 1, of efdmix 1, "
            "because it sorts all voxels of a channel",
            optional(lambda value: distinct(integer(0))(value) and len(value) > 0),
            "a list of different integers >= 0, or null",
        ),
        Knob(
            "skip",
            True,
            "true: the skip connection takes the changed features, too, as in the papers; false: only the next stage",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "partners",
            "any",
            "with features=efdmix or mixstyle: whom a sample is mixed with; any: another one of the batch; other_site: "
            "one from another site (nnunet_ext leave_one_site_out), without one it stays",
            one_of("any", "other_site"),
            "'any' or 'other_site'",
        ),
        Knob(
            "range",
            RUNNING,
            "of trid's random means and standard deviations; running: from the 5th to the 95th percentile of the "
            "channels of the last 100 steps; [0, 1] is the paper's",
            _is_range,
            "'running', or a list of two numbers >= 0, the smaller first",
        ),
    ),
)
