"""Customisation of the image model to one photo: LoRA with multi-view augmentation."""
