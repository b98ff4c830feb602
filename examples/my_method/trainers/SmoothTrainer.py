from my_method import SmoothTrainer as SmoothTrainer
