"""Resizing of pictures to the bytes that torch and torchvision give, without torch."""
