"""The mathematics of sampling: schedules, inversion, guidance, fusion, masks. Tensors in, tensors out."""
