"""Networks: plain nn.Module, nothing of Lightning or Hydra in them.

A network of your own is a class whose `__init__` takes `in_channels`, `image_size` and `num_classes` (they come from
the data) and whatever else its file in `conf/model` names.
"""
