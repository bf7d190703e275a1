"""`octavo quantize`: a checkpoint in fewer bits, calibrated on texts and pictures."""
