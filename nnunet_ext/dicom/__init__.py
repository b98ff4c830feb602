"""DICOM series in, DICOM segmentations out; needs the extra ``dicom`` (pydicom and highdicom)."""
