"""The card of pseudo-labels."""

from nnunet_ext.base.method import Knob, Method, number, one_of, optional

CARD = Method(
    key="pseudo_label",
    title="Pseudo-labels",
    summary="Semi-supervised: train, predict the unlabelled images, retrain on labels and predictions; one command",
    papers=("Lee, Pseudo-label, ICML workshop on challenges in representation learning, 2013",),
    trainers=("PseudoLabelTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label", "unlabelled images"),
    knobs=(
        Knob(
            "supervised_share",
            0.5,
            "share of the epochs that train on the labelled cases alone, before the unlabelled cases are predicted; "
            "the other epochs train on both",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "pseudo_label_weight",
            1.0,
            "weight of pseudo-labelled samples in the mean loss of a batch; labelled samples have weight 1",
            number(0),
            "a number >= 0",
        ),
        Knob(
            "anew",
            True,
            "training on labels and pseudo-labels starts from the initial weights; false: from those that made the "
            "predictions, for trainings too short to converge twice",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "ignored_voxels",
            False,
            "the training cases are predicted, too, and their ignored voxels get what is found there; annotated voxels "
            "keep their labels; images without labels are then not needed",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "threshold",
            None,
            "least probability of a prediction that fills an ignored voxel; others stay ignored; null: all are filled",
            optional(number(0, exclusive=True, below=1)),
            "a number > 0 and < 1, or null",
        ),
    ),
)
