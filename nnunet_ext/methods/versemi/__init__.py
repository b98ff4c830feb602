"""VerSemi: DoDNet on labelled and unlabelled images of many datasets, with a task that is the union of all others."""
