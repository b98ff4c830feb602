"""DoDNet: one network for many tasks, whose last layers are made for each image and task."""
