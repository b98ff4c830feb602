"""The card of fine-tuning."""

from __future__ import annotations

from nnunet_ext.base.method import Knob, Method, integer, number, one_of

STRATEGIES = (None, "all", "head_first", "frozen_encoder", "layer_wise", "lora")
LENGTH = {"warm_up": 0.1, "num_epochs": 150}

CARD = Method(
    key="fine_tune",
    title="Fine-tuning",
    summary="Continues the training of someone else's model (knob init_from) on your data, and reports for each class "
    "whether it got better",
    papers=(
        "Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, https://arxiv.org/abs/2106.09685",
        "Howard and Ruder, Universal language model fine-tuning for text classification (layer-wise rates), ACL 2018, "
        "https://arxiv.org/abs/1801.06146",
        "Lei et al., Pre-training everywhere: parameter-efficient fine-tuning for medical image analysis via target "
        "parameter pre-training, 2024, https://arxiv.org/abs/2408.15011",
    ),
    trainers=("FineTuneTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres", "regions", "ignore label"),
    knobs=(
        Knob(
            "strategy",
            None,
            "what trains, in every trainer: all; head_first (the heads alone, then all); frozen_encoder (all but the "
            "encoder); layer_wise (rates fall from the heads to the encoder's first stage); lora (low-rank updates of "
            "the convolutions, and the heads); null: all, and FineTuneTrainer demands init_from even then",
            one_of(*STRATEGIES),
            "'all', 'head_first', 'frozen_encoder', 'layer_wise', 'lora' or null",
        ),
        Knob(
            "transfer",
            "all",
            "what init_from takes, in every trainer: all that fits, or the encoder alone, so that the decoder starts "
            "fresh",
            one_of("all", "encoder"),
            "'all' or 'encoder'",
        ),
        Knob(
            "head_epochs",
            0.1,
            "with head_first: share of the epochs in which the heads train alone, rounded to whole ones, at least one "
            "and all but one at most",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "layer_decay",
            0.8,
            "with layer_wise: learning rate of a level relative to the level before it, from the heads down to the "
            "encoder's first stage (11 levels for six stages)",
            lambda value: number(0, exclusive=True)(value) and value <= 1,
            "a number > 0 and <= 1",
        ),
        Knob("lora_rank", 8, "with lora: rank of the updates", integer(1), "an integer >= 1"),
        Knob(
            "lora_alpha",
            8.0,
            "with lora: the updates count lora_alpha / lora_rank times",
            number(0, exclusive=True),
            "a number > 0",
        ),
        Knob(
            "lora_layers",
            "all",
            "with lora: convolutions that get updates; the others stay frozen",
            one_of("encoder", "decoder", "all"),
            "'encoder', 'decoder' or 'all'",
        ),
        Knob(
            "lora_norms",
            True,
            "with lora: scale and shift of the normalizations train, too",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "pretrain_new",
            False,
            "in FineTuneTrainer, with lora or frozen_encoder: in the first epochs, what is new (LoRA's factors, or a "
            "decoder that the source does not fill) restores hidden blocks of the training images and of imagesUn; "
            "the knobs masked_autoencoder.* say what is hidden",
            one_of(True, False),
            "true or false",
        ),
        Knob(
            "pretrain_share",
            0.15,
            "with pretrain_new: share of the epochs in which it does, rounded to whole ones, at least one and all but "
            "one at most",
            number(0, exclusive=True, below=1),
            "a number > 0 and < 1",
        ),
        Knob(
            "keep_unannotated",
            False,
            "in trainers of labelled images of one dataset: classes that the source (init_from) knows and your labels "
            "do not have are filled into the background by the source's network",
            one_of(True, False),
            "true or false",
        ),
    ),
    recipe={"optimizer": "SGD", "initial_lr": 1e-3, **LENGTH},
    recipe_with={
        "SGD": {"initial_lr": 1e-3, **LENGTH},
        "PlainSGD": {"initial_lr": 1e-3, **LENGTH},
        "AdamW": {"initial_lr": 1e-4, **LENGTH},  # nnU-Net's rate for pretrained Primus networks, with AdamW
    },
)
