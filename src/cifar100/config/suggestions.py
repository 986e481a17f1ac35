"""The name that a person probably meant by one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

ALIASES: Mapping[str, str] = {
    alias: setting
    for setting, aliases in {
        "data.root": "dataset data_dir data_root data_path dataset_path dataset_dir datadir path folder",
        "data.batch_size": "batch bs train_batch_size minibatch",
        "data.num_workers": "workers n_workers jobs n_jobs dataloader_workers",
        "data.validation_fraction": "val_split val_fraction valid_size val_size validation_split val_ratio holdout",
        "data.num_folds": "folds k_folds kfold kfolds n_folds cv cross_validation",
        "data.image_size": "resolution img_size input_size image_side size pixels",
        "data.sampler": "weighted_sampler oversampling oversample balance balanced",
        "data.exclude": "exclude_file audit ignore skip",
        "data.pipeline": "loader dataloader",
        "augmentation.policy": "autoaugment auto_augment randaugment rand_augment trivialaugment augment augmentation",
        "augmentation.mixup_probability": "mixup mixup_prob",
        "augmentation.cutmix_probability": "cutmix cutmix_prob",
        "augmentation.random_erasing_probability": "random_erasing erasing reprob",
        "augmentation.crop_padding": "padding crop random_crop",
        "augmentation.flip": "hflip horizontal_flip",
        "augmentation.rotate": "rotation degrees",
        "model.name": "model network net arch architecture backbone model_name",
        "model.arguments": "model_kwargs kwargs model_args drop_rate drop_path_rate",
        "model.freeze": "frozen freeze_backbone linear_probe probe",
        "model.stochastic_depth": "drop_path droppath",
        "model.weights": "checkpoint initial_checkpoint init_checkpoint pretrained_path load_from ckpt_path",
        "model.widths": "width channels",
        "optimization.layer_decay": "layerwise_decay layer_wise_decay llrd lr_decay",
        "optimization.learning_rate": "lr max_lr base_lr init_lr initial_lr eta",
        "optimization.weight_decay": "wd decay l2",
        "optimization.momentum": "beta1 mom",
        "optimization.optimizer": "optim opt",
        "optimization.loss": "criterion objective",
        "optimization.label_smoothing": "smoothing",
        "optimization.class_weights": "class_weight balanced_loss",
        "optimization.schedule": "scheduler lr_scheduler lr_schedule sched annealing",
        "optimization.pct_start": "warmup warmup_epochs warmup_steps warmup_fraction",
        "optimization.ema_decay": "ema model_ema swa",
        "optimization.sam_rho": "rho",
        "optimization.teacher": "distill distillation kd",
        "optimization.teacher_temperature": "temperature",
        "training.max_epochs": "epochs epoch num_epochs n_epochs steps max_steps num_steps iterations iters",
        "training.max_minutes": "minutes time max_time duration budget hours",
        "training.devices": "gpus gpu num_gpus n_gpus ngpus world_size num_devices",
        "training.accelerator": "device cuda",
        "training.num_nodes": "nodes machines nnodes",
        "training.precision": "amp fp16 bf16 mixed_precision half",
        "training.seed": "random_seed rng",
        "training.loggers": "logger log logging tensorboard",
        "training.resolutions": "progressive_resizing",
        "training.save_every_minutes": "save_every save_interval checkpoint_every save_freq",
        "training.validate_every": "val_every eval_every check_val_every_n_epoch val_interval",
        "training.limit_train_batches": "limit_batches overfit_batches max_batches",
        "training.compile": "torch_compile",
    }.items()
    for alias in aliases.split()
}
"""Names that are common elsewhere -> the setting of the same meaning. Used in messages only."""

SECTION_ALIASES: Mapping[str, str] = {
    alias: section
    for section, aliases in {
        "data": "dataset datamodule dataloader loader dm",
        "augmentation": "augment aug augmentations transform transforms",
        "model": "network net arch architecture",
        "optimization": "optim optimizer opt optimisation optimize scheduler loss",
        "training": "train trainer fit run",
    }.items()
    for alias in aliases.split()
}


def did_you_mean(word: str, known: Collection[str], *, prefix: str = "") -> str:
    """Return `; did you mean X?`, or a full stop if nothing is near. Prefixes X by `prefix`."""
    found = suggestion(word[:200], known)
    return f"; did you mean {prefix}{found}?" if found else "."


def suggestion(word: str, known: Collection[str]) -> str | None:
    """Return the name among `known` that a person probably meant by `word`.

    A known name in another section comes first, then one of `ALIASES`, then one that is spelled like it, if possible in
    the same section.
    """
    section, _, key = word.replace("-", "_").lower().rpartition(".")
    keys = {name: name.rpartition(".")[2] for name in known}
    candidates = [name for name in keys if keys[name] == key]
    candidates += [name for name in (ALIASES.get(key), SECTION_ALIASES.get(key)) if name in keys]
    if not candidates:
        here = {keys[name]: name for name in keys if name.rpartition(".")[0] == section}
        everywhere = {keys[name]: name for name in keys}
        for names in (here, everywhere):
            candidates += [names[near] for near in difflib.get_close_matches(key, names, n=1, cutoff=0.7)]
    return candidates[0] if candidates else None
