"""BCP: labelled and unlabelled images are pasted into each other, and a teacher labels the unlabelled parts."""
