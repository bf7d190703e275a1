"""Tries whether plugins keep the contract."""
